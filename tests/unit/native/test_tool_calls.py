"""Tool calls of a checkpoint whose chat template has them: through the engine, and over HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from openai import AsyncOpenAI

from service.api.application import create_application
from service.api.backend import Backend
from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.errors import RequestError
from service.metrics.telemetry import Telemetry
from service.native.engine import Engine
from service.native.preparation import share_key
from service.prompt.answer_parser import AnswerFormat, AnswerParser, Call
from service.prompt.grammar import Grammars
from service.protocol.request import FinishReason, Grammar, Request, Sampling, Turn
from service.settings import Settings
from tests.support.other_checkpoints import make_other
from tests.support.running import answer, ask, running
from tests.support.tool_template import TOOLS_AND_REASONING

COLORS = {
    "type": "object",
    "properties": {"color": {"$ref": "#/$defs/color"}},
    "required": ["color"],
    "additionalProperties": False,
    "$defs": {"color": {"enum": ["red", "blue"]}},
}
NONE = {"type": "object", "properties": {}, "additionalProperties": False}
PAINT = {"type": "function", "function": {"name": "paint", "description": "Paint.", "parameters": COLORS}}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A Qwen2.5-VL checkpoint of random weights whose template has tools and reasoning."""
    directory: Path = tmp_path_factory.mktemp("tools") / "model"
    return load(str(make_other(directory, "qwen2_5_vl", TOOLS_AND_REASONING)))


def grammar(*functions: tuple[str, Any], single: bool = True) -> Grammar:
    named = [{"name": name, "parameters": schema} for name, schema in functions]
    return Grammar("tool_calls", json.dumps({"functions": named, "single": single}), "tools")


def calls(text: str) -> list[Call]:
    parser = AnswerParser(AnswerFormat(tools=True))
    events = [*parser.feed(text), *parser.finish()]
    assert all(isinstance(event, Call) for event in events), text
    return cast("list[Call]", events)


@pytest.mark.slow
def test_an_answer_that_must_call_calls(loaded: LoadedModel) -> None:
    """Random weights, whatever they would say, call a tool with arguments that match its schema."""
    choices = grammar(("paint", COLORS), ("go", NONE))
    requests = [ask("?", max_tokens=200, temperature=2.0, seed=seed, grammar=choices) for seed in range(8)]
    with running(loaded) as engine:
        completions = answer(engine, *requests)
    for completion in completions:
        assert completion.finish_reason is FinishReason.STOP
        (call,) = calls(completion.text)
        arguments = json.loads(call.arguments)
        assert arguments == {} if call.name == "go" else arguments["color"] in ("red", "blue")


GO = '<tool_call>\n{"name": "go", "arguments": {}}\n</tool_call>'
RED = '<tool_call>\n{"name": "paint", "arguments": {"color": "red"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "single", "taken"),
    [
        (GO, True, True),
        (RED, True, True),
        (f"{GO}\n{RED}", True, False),
        (f"{GO}\n{RED}", False, True),
        (f"{GO} {RED}", False, False),
        (RED.replace("red", "green"), True, False),
        (RED.replace("paint", "go"), True, False),
        ("I go. " + GO, True, False),
    ],
)
def test_what_calls_may_be(loaded: LoadedModel, text: str, single: bool, taken: bool) -> None:
    """Calls have a name and arguments that belong together, and several stand on lines of their own."""
    grammars = Grammars(loaded.tokenizer, loaded.stop_ids)
    matcher = grammars.matcher(grammar(("paint", COLORS), ("go", NONE), single=single))
    ids = loaded.tokenizer.encode(text, add_special_tokens=False)
    assert (matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()) is taken


def test_a_schema_of_a_tool_that_cannot_be_used_is_refused(loaded: LoadedModel) -> None:
    """A schema that llguidance does not support names the tools."""
    grammars = Grammars(loaded.tokenizer, loaded.stop_ids)
    with pytest.raises(RequestError, match="JSON schema of a tool cannot be used") as refused:
        grammars.matcher(grammar(("go", {"type": "object", "properties": {"a": {"type": "x"}}})))
    assert refused.value.field == "tools"


def test_what_the_template_gets_is_not_shared() -> None:
    """Requests that differ in tools, calls or reasoning alone have answers of their own."""
    turn = Turn("user", ("?",))
    requests = [
        Request((turn,), Sampling(8)),
        Request((turn,), Sampling(8), passed={"tools": [PAINT]}),
        Request((turn,), Sampling(8), passed={"enable_thinking": False}),
        Request((Turn("user", ("?",), {"tool_calls": []}),), Sampling(8)),
    ]
    assert len(set(map(share_key, requests))) == len(requests)
    assert share_key(requests[1]) == share_key(Request((turn,), Sampling(8), passed={"tools": [PAINT]}))


async def over_http(engine: Engine, **fields: Any) -> list[Any]:
    """The completion, or the chunks of a stream."""
    settings = Settings()
    backend = Backend(
        engine, settings, settings.generation_defaults, cast("Any", None), Telemetry.from_settings(settings)
    )
    http = httpx.AsyncClient(transport=httpx.ASGITransport(create_application(backend)))
    async with AsyncOpenAI(
        base_url="http://server/v1", api_key="x", http_client=http, max_retries=0
    ) as client:
        question: Any = [{"role": "user", "content": "Paint."}]
        found = await client.chat.completions.create(model="embedded", messages=question, **fields)
        return [chunk async for chunk in found] if fields.get("stream") else [found]


@pytest.mark.slow
def test_the_official_client_gets_calls_of_a_checkpoint(loaded: LoadedModel) -> None:
    """Over HTTP a required tool is called, and without one the model's own text comes, as reasoning."""
    with running(loaded) as engine:
        (called,) = asyncio.run(over_http(engine, tools=[PAINT], tool_choice="required", max_tokens=200))
        (thought,) = asyncio.run(over_http(engine, tools=[PAINT], max_tokens=8))
    (choice,) = called.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    for call in choice.message.tool_calls:
        assert call.function.name == "paint"
        assert json.loads(call.function.arguments)["color"] in ("red", "blue")
    # The template ends the prompt with `<think>`, and random weights do not end the thought.
    assert thought.choices[0].message.content is None
    assert thought.choices[0].message.reasoning_content


@pytest.mark.slow
def test_a_stream_has_the_logprobs_of_what_was_held_back(loaded: LoadedModel) -> None:
    """A streamed call comes whole, and with it the log probabilities of all of its tokens."""
    fields = {"tools": [PAINT], "tool_choice": "required", "max_tokens": 200, "logprobs": True}
    with running(loaded) as engine:
        *chunks, last = asyncio.run(
            over_http(engine, **fields, stream=True, stream_options={"include_usage": True})
        )
    choices = [chunk.choices[0] for chunk in chunks]
    found = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert found
    assert choices[-1].finish_reason == "tool_calls"
    assert not any(choice.delta.content for choice in choices)
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    text = "".join(token.token for token in tokens)
    assert len(tokens) == last.usage.completion_tokens
    text = "".join(token.token for token in tokens)
    assert len(tokens) in (last.usage.completion_tokens, last.usage.completion_tokens - 1)
    assert text.startswith("<tool_call>")
