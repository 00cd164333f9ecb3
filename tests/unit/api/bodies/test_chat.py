"""The bodies of POST /v1/chat/completions."""

import base64
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from service.api.schemas.chat import ChatRequest
from service.protocol.request import EncodedImage, Grammar, Sampling, Turn
from tests.unit.api.conftest import StubEngine, StubFetcher
from tests.unit.api.routes.chats import IMAGE, QUESTION, ask, image_part, refusal, text_part, user


def test_turns_keep_their_order(client: TestClient, engine: StubEngine) -> None:
    """Roles, texts and images reach the engine in the order of the messages."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [text_part("First:"), image_part(), text_part("and"), image_part()]},
        {"role": "assistant", "content": [text_part("A circle.")], "refusal": None, "tool_calls": None},
        QUESTION,
    ]
    assert ask(client, messages).status_code == 200
    image = EncodedImage(IMAGE)
    assert engine.asked[-1].turns == (
        Turn("system", ("Be brief.",)),
        Turn("user", ("First:", image, "and", image)),
        Turn("assistant", ("A circle.",)),
        Turn("user", ("What is there?",)),
    )


def test_every_sampling_parameter_reaches_the_engine(client: TestClient, engine: StubEngine) -> None:
    """Each parameter that is supported arrives, and one that is left out takes the server's default."""
    fields = {
        "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 11,
        "stop": ["a", "b"], "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": -1,
        "logit_bias": {"17": -100, "3": 2.5}, "min_p": 0.1, "min_tokens": 4, "ignore_eos": True,
        "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    assert ask(client, **fields).status_code == 200
    biases = ((17, -100.0), (3, 2.5))
    assert engine.asked[-1].sampling == Sampling(
        7, 0.5, 0.9, 40, 11, ("a", "b"), 1.2, 0.3, -1.0, biases, 0.1, 4, ignore_eos=True, top_logprobs=2
    )
    assert not engine.asked[-1].shorten
    assert ask(client, max_tokens=3, stop="x").status_code == 200
    assert engine.asked[-1].sampling == Sampling(3, stop=("x",))
    assert ask(client).status_code == 200
    assert engine.asked[-1].sampling == Sampling(1024)
    assert engine.asked[-1].shorten


def test_low_detail_is_one_tile(client: TestClient, engine: StubEngine) -> None:
    """An image of low detail is not cut into tiles, whatever another one is."""
    ask(client, user(image_part(detail="low"), image_part(detail="high")))
    assert engine.asked[-1].turns[0].content == (EncodedImage(IMAGE, max_tiles=1), EncodedImage(IMAGE))


NEUTRAL = {
    "frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False, "logit_bias": {}, "tools": [],
    "tool_choice": "auto", "response_format": {"type": "text"}, "store": False, "n": 1, "user": None,
}  # fmt: skip


def test_takes_parameters_that_change_nothing(client: TestClient) -> None:
    """A parameter that is not supported is taken where it asks for what is done anyway."""
    assert ask(client, **NEUTRAL).status_code == 200


UNSUPPORTED: dict[str, Any] = {
    "audio": {"voice": "x"}, "function_call": {"name": "f"},
    "functions": [{"name": "f"}], "metadata": {"a": "b"},
    "modalities": ["text", "audio"], "moderation": {"model": "x"}, "parallel_tool_calls": "yes",
    "prediction": {"type": "content", "content": "x"}, "prompt_cache_key": "x",
    "prompt_cache_options": {"a": 1}, "prompt_cache_retention": "24h", "reasoning_effort": "low",
    "safety_identifier": "x", "service_tier": "priority",
    "store": True, "tool_choice": "required", "tools": [{"type": "function"}],
    "user": "me", "verbosity": "low", "web_search_options": {},
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_refuses_what_is_not_supported(client: TestClient, name: str) -> None:
    """A parameter of OpenAI's that would be ignored gets a 400 that names it."""
    response = ask(client, **{name: UNSUPPORTED[name]})
    assert refusal(response) == (400, "unsupported_parameter", name)
    assert name in response.json()["error"]["message"]


def test_every_parameter_of_the_official_client_is_taken_or_refused(client: TestClient) -> None:
    """Nothing that the official client can send is unknown here."""
    there = set(CompletionCreateParamsBase.__annotations__)
    assert there - set(ChatRequest.model_fields) - set(UNSUPPORTED) == set()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
SCHEMA_TEXT = json.dumps(SCHEMA, separators=(",", ":"))

GRAMMARS: list[tuple[dict[str, Any], Grammar | None]] = [
    ({"response_format": {"type": "text"}}, None),
    ({"response_format": {"type": "json_object"}}, Grammar("json_schema", '{"type":"object"}')),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        Grammar("json_schema", SCHEMA_TEXT),
    ),
    ({"structured_outputs": {"json": SCHEMA}}, Grammar("json_schema", SCHEMA_TEXT)),
    ({"structured_outputs": {"json": SCHEMA_TEXT}}, Grammar("json_schema", SCHEMA_TEXT)),
    ({"structured_outputs": {"json_object": True}}, Grammar("json_schema", '{"type":"object"}')),
    ({"structured_outputs": {"regex": "[ab]+"}}, Grammar("regex", "[ab]+")),
    ({"structured_outputs": {"choice": ["a", "b"]}}, Grammar("choice", '["a", "b"]')),
]


@pytest.mark.parametrize(("fields", "grammar"), GRAMMARS)
def test_what_an_answer_must_match_reaches_the_engine(
    client: TestClient, engine: StubEngine, fields: dict[str, Any], grammar: Grammar | None
) -> None:
    """OpenAI's and vLLM's fields for structured output each become a grammar."""
    assert ask(client, **fields).status_code == 200
    assert engine.asked[-1].sampling.grammar == grammar


ANSWERED = {"role": "assistant", "content": [image_part()]}
PART = "messages.0.content.0"

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "unknown field": ({"promt": 1}, "promt"),
    "tool role": ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    "no role": ({"messages": [{"content": "x"}]}, "messages.0.role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "named author": ({"messages": [{**QUESTION, "name": "me"}]}, "messages.0.name"),
    "text that is none": ({"messages": user({"type": "text", "text": 5})}, f"{PART}.text"),
    "audio": ({"messages": user({"type": "input_audio"})}, f"{PART}.type"),
    "image of an answer": ({"messages": [ANSWERED]}, f"{PART}.type"),
    "detail": ({"messages": user(image_part(detail="x"))}, f"{PART}.image_url.detail"),
    "not base64": ({"messages": user(image_part("data:image/png;base64,%"))}, f"{PART}.image_url.url"),
    "too many images": ({"messages": user(*[image_part()] * 17)}, "messages"),
    "hot": ({"temperature": 9}, "temperature"),
    "number as text": ({"max_tokens": "5"}, "max_tokens"),
    "two limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    "strong penalty": ({"presence_penalty": 2.1}, "presence_penalty"),
    "biased word": ({"logit_bias": {"red": 1}}, "logit_bias.red"),
    "strong bias": ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    "more than the most": ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
    "two formats": (GRAMMARS[1][0] | GRAMMARS[6][0], "structured_outputs"),
    "two constraints": ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
    "text as schema": ({"structured_outputs": {"json": "{"}}, "structured_outputs"),
    "large schema": ({"structured_outputs": {"regex": "a" * 65_537}}, "structured_outputs"),
    "endless format": (GRAMMARS[1][0] | {"ignore_eos": True}, "ignore_eos"),
    "top without logprobs": ({"top_logprobs": 2}, "top_logprobs"),
    "empty stop": ({"stop": ["a", ""]}, "stop.1"),
    "options without stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "long text": ({"messages": user(text_part("x" * 100_001))}, "messages"),
}


@pytest.mark.parametrize(("fields", "param"), WRONG.values(), ids=WRONG.keys())
def test_refuses_a_wrong_field(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """A field that is wrong gets a 400 that names it."""
    assert refusal(ask(client, **fields)) == (400, "invalid_request", param)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_refuses_a_body_that_is_no_object(client: TestClient, content: str) -> None:
    """A body that is not a JSON object gets a 400."""
    assert refusal(client.post("/v1/chat/completions", content=content)) == (400, "invalid_request", None)


def test_large_bodies_are_read_whole(client: TestClient, engine: StubEngine) -> None:
    """An image too large to be read between two requests still arrives whole."""
    data = bytes(range(256)) * 4096
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    ask(client, user(image_part(url)))
    assert engine.asked[-1].turns[0].content == (EncodedImage(data),)


def test_an_image_by_its_url_is_fetched(client: TestClient, engine: StubEngine, fetcher: StubFetcher) -> None:
    """An image that is named by an https URL is fetched by the server."""
    fetcher.files["https://example.com/a.png"] = IMAGE
    assert ask(client, user(image_part("https://example.com/a.png"))).status_code == 200
    assert engine.asked[-1].turns[0].content == (EncodedImage(IMAGE),)
    response = ask(client, user(image_part("https://example.com/b.png")))
    assert refusal(response) == (400, "image_fetch_failed", "messages.0.content.0.image_url.url")
