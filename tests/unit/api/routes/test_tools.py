"""Tools and reasoning of POST /v1/chat/completions, over an engine whose chat template has them."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from openai import AsyncOpenAI

from service.api.schemas.completion import ChatChunk
from service.protocol.chat_format import ChatFormat
from service.protocol.request import FinishReason, Turn
from tests.unit.api.conftest import FINISHED, Connect, StubEngine
from tests.unit.api.routes.chats import QUESTION, ask

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "the square"}}\n</tool_call>'
THOUGHT = "<think>\nWhat is it?\n</think>\n\n"


@pytest.fixture
def engine(engine: StubEngine) -> StubEngine:
    engine.chat_format = ChatFormat(tools=True, thinks=True, switch=True)
    says(engine, "I look. " + CALL)
    return engine


def says(engine: StubEngine, text: str, reason: FinishReason = FinishReason.STOP) -> None:
    # The engine's stream ends each piece with a blank, so the whole does.
    engine.finished = replace(FINISHED, text=text + " ", finish_reason=reason)


@pytest.fixture
def openai_client(client: TestClient) -> Callable[[], AsyncOpenAI]:
    def make() -> AsyncOpenAI:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(client.app))
        return AsyncOpenAI(base_url="http://server/v1", api_key="none", http_client=http, max_retries=0)

    return make


@pytest.mark.anyio
async def test_the_official_client_gets_calls(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine
) -> None:
    """The official client reads reasoning, text and tool calls of each choice, and sends them back."""
    says(engine, THOUGHT + "I look. " + CALL)
    ask_again: Any = openai_client().chat.completions.create
    answer = await ask_again(model="embedded", messages=[QUESTION], tools=[LOOK], n=2)
    for choice in answer.choices:
        assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")
        assert choice.message.reasoning_content == "What is it?"
        (call,) = choice.message.tool_calls
        assert (call.type, call.function.name) == ("function", "look")
        assert json.loads(call.function.arguments) == {"at": "the square"}
    ids = [choice.message.tool_calls[0].id for choice in answer.choices]
    assert len(set(ids)) == 2
    message = answer.choices[0].message
    result = {"role": "tool", "tool_call_id": ids[0], "content": "It is blue."}
    await ask_again(model="embedded", messages=[QUESTION, message, result], tools=[LOOK])
    function = {"name": "look", "arguments": {"at": "the square"}}
    calls = [{"id": ids[0], "type": "function", "function": function}]
    assert engine.asked[-1].turns[1:] == (
        Turn("assistant", ("I look.",), {"tool_calls": calls, "reasoning_content": "What is it?"}),
        Turn("tool", ("It is blue.",), {"tool_call_id": ids[0]}),
    )


@pytest.mark.anyio
async def test_the_official_client_gets_a_stream_of_calls(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine
) -> None:
    """Reasoning and text stream as they come, a call comes whole, and each choice ends with its reason."""
    says(engine, THOUGHT + f"I look. {CALL} {CALL}")
    stream: AsyncIterator[Any] = await openai_client().chat.completions.create(
        model="embedded", messages=[QUESTION], tools=[LOOK], stream=True, n=2
    )  # type: ignore[call-overload]
    contents, thoughts, calls, reasons = ["", ""], ["", ""], [list[Any](), list[Any]()], ["", ""]
    pieces = 0
    async for chunk in stream:
        (choice,) = chunk.choices
        contents[choice.index] += choice.delta.content or ""
        thought = getattr(choice.delta, "reasoning_content", None) or ""
        pieces += bool(thought)
        thoughts[choice.index] += thought
        calls[choice.index] += choice.delta.tool_calls or []
        reasons[choice.index] += choice.finish_reason or ""
    assert (contents, thoughts) == (["I look."] * 2, ["What is it?"] * 2)
    assert reasons == ["tool_calls"] * 2
    assert pieces > 2
    for found in calls:
        assert [(call.index, call.type, call.function.name) for call in found] == [
            (0, "function", "look"),
            (1, "function", "look"),
        ]
        assert json.loads(found[1].function.arguments) == {"at": "the square"}


def test_chunks_of_calls_are_those_of_the_reference(client: TestClient, engine: StubEngine) -> None:
    """Every chunk with reasoning or calls is what the OpenAPI document says."""
    says(engine, THOUGHT + CALL)
    lines = ask(client, tools=[LOOK], stream=True).text.strip().split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    for chunk in chunks:
        assert ChatChunk.model_validate(chunk, strict=True, extra="forbid")
    assert any("tool_calls" in chunk["choices"][0]["delta"] for chunk in chunks)


def test_an_answer_of_calls_alone_has_no_content(client: TestClient, engine: StubEngine) -> None:
    """Without text besides calls, `content` is null; without calls there is no such field."""
    says(engine, CALL)
    assert ask(client, tools=[LOOK]).json()["choices"][0]["message"]["content"] is None
    says(engine, "A square.")
    message = ask(client, tools=[LOOK]).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "A square. ", "refusal": None}


@pytest.mark.parametrize("text", ["<tool_call>look</tool_call>", CALL[:40]], ids=["no JSON", "cut"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_call_is_content(client: TestClient, engine: StubEngine, text: str, stream: bool) -> None:
    """A call that is malformed or cut off is the answer's text, and the reason stays."""
    says(engine, text, FinishReason.LENGTH)
    response = ask(client, tools=[LOOK], stream=stream)
    if not stream:
        choice = response.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text + " ", "length")
        return
    chunks = [json.loads(line[6:])["choices"][0] for line in response.text.strip().split("\n\n")[:-1]]
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks).strip() == text
    assert chunks[-1]["finish_reason"] == "length"


def test_one_call_at_a_time(client: TestClient, engine: StubEngine) -> None:
    """Without parallel calls, what follows the first is left out."""
    says(engine, f"{CALL}\n{CALL}")
    message = ask(client, tools=[LOOK], parallel_tool_calls=False).json()["choices"][0]["message"]
    assert (len(message["tool_calls"]), message["content"]) == (1, None)


def test_tools_that_may_not_be_called_are_not_looked_for(client: TestClient, engine: StubEngine) -> None:
    """With `tool_choice: none` the text is content as it is."""
    content = ask(client, tools=[LOOK], tool_choice="none").json()["choices"][0]["message"]["content"]
    assert content == f"I look. {CALL} "


def test_an_answer_in_a_format_is_not_parted(client: TestClient, engine: StubEngine) -> None:
    """What must match a format is content as a whole, whatever its strings hold."""
    says(engine, THOUGHT + CALL)
    response = ask(client, tools=[LOOK], structured_outputs={"regex": ".*"})
    assert response.json()["choices"][0]["message"]["content"] == THOUGHT + CALL + " "


def test_the_switch_reaches_the_template(client: TestClient, engine: StubEngine) -> None:
    """`enable_thinking` reaches the template, and says whether the prompt has begun the reasoning."""
    engine.chat_format = replace(engine.chat_format, opened=frozenset({None, True}))
    says(engine, "Hm.</think> A square.")
    for thinking in (None, True):
        message = ask(client, chat_template_kwargs={"enable_thinking": thinking}).json()["choices"][0][
            "message"
        ]
        assert (message["reasoning_content"], message["content"]) == ("Hm.", "A square. ")
    assert engine.asked[-1].passed == {"enable_thinking": True}
    says(engine, "A square.")
    message = ask(client, chat_template_kwargs={"enable_thinking": False}).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "A square. ", "refusal": None}


def test_the_document_has_tools(connect: Connect) -> None:
    """The OpenAPI document describes tools, calls and reasoning, of requests and of answers."""
    schemas = connect().get("/openapi.json").json()["components"]["schemas"]
    names = {"tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs"}
    assert names <= schemas["ChatRequest"]["properties"].keys()
    assert {"tool_calls", "reasoning_content"} <= schemas["AnswerMessage"]["properties"].keys()
    assert "tool_calls" in schemas["Choice"]["properties"]["finish_reason"]["enum"]
    assert "ToolMessage" in schemas
