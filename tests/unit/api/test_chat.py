"""POST /v1/chat/completions over an engine that answers at once, through the official client."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient
from openai import AsyncOpenAI

from service.engine.request import EncodedImage, Sampling, Turn
from service.errors import ErrorCode, RequestError
from tests.unit.api.conftest import CAPTION, Connect, StubEngine, StubFetcher

IMAGE = b"\x89PNG not looked at here"
DATA_URL = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
QUESTION = {"role": "user", "content": "What is there?"}


def image_part(url: str = DATA_URL, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.fixture
def openai_client(client: TestClient) -> Callable[[], AsyncOpenAI]:
    def make() -> AsyncOpenAI:
        transport = httpx.ASGITransport(client.app)
        http = httpx.AsyncClient(transport=transport)
        return AsyncOpenAI(base_url="http://server/v1", api_key="none", http_client=http, max_retries=0)

    return make


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def ask(client: TestClient, messages: Any = (QUESTION,), **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={"messages": messages, **fields})


def refusal(response: Any) -> tuple[int, str, str | None]:
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"]
    return response.status_code, body["error"]["code"], body["error"]["param"]


@pytest.mark.anyio
async def test_the_official_client_gets_an_answer(openai_client: Callable[[], AsyncOpenAI]) -> None:
    """The official client reads text, reason and usage of an answer."""
    answer = await openai_client().chat.completions.create(model="embedded", messages=[QUESTION])  # type: ignore[list-item]
    assert answer.choices[0].message.content == CAPTION + " "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        60,
        9,
        69,
    )
    assert (answer.object, answer.model) == ("chat.completion", "embedded")


@pytest.mark.anyio
async def test_the_official_client_gets_a_stream(openai_client: Callable[[], AsyncOpenAI]) -> None:
    """A stream has the role first, then text, the reason and, when asked for, the usage; all of one id."""
    stream: AsyncIterator[Any] = await openai_client().chat.completions.create(
        model="embedded", messages=[QUESTION], stream=True, stream_options={"include_usage": True}
    )  # type: ignore[call-overload]
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]).strip() == CAPTION
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 69)
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.anyio
async def test_the_official_client_raises_what_fits(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine
) -> None:
    """Errors become the official client's own exceptions, with code and parameter."""
    with pytest.raises(openai.BadRequestError) as refused:
        await openai_client().chat.completions.create(model="embedded", messages=[QUESTION], n=2)  # type: ignore[list-item]
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")
    with pytest.raises(openai.NotFoundError):
        await openai_client().chat.completions.create(model="gpt-4o", messages=[QUESTION])  # type: ignore[list-item]
    engine.failure = RequestError(ErrorCode.INTERNAL_ERROR, "broken")
    with pytest.raises(openai.InternalServerError):
        await openai_client().chat.completions.create(model="embedded", messages=[QUESTION])  # type: ignore[list-item]


@pytest.mark.anyio
async def test_an_error_within_a_stream_reaches_the_official_client(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine
) -> None:
    """A stream that fails in its middle raises in the official client."""
    engine.failure_after, engine.failure = 2, RequestError(ErrorCode.DEADLINE_EXCEEDED, "late")
    stream = await openai_client().chat.completions.create(model="embedded", messages=[QUESTION], stream=True)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError, match="late"):
        async for _ in stream:
            pass


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
        "stop": ["a", "b"], "repetition_penalty": 1.2,
    }  # fmt: skip
    assert ask(client, **fields).status_code == 200
    assert engine.asked[-1].sampling == Sampling(7, 0.5, 0.9, 40, 11, ("a", "b"), 1.2)
    assert not engine.asked[-1].shorten
    assert ask(client, max_tokens=3, stop="x").status_code == 200
    assert engine.asked[-1].sampling == Sampling(3, stop=("x",))
    assert ask(client).status_code == 200
    assert engine.asked[-1].sampling == Sampling(1024)
    assert engine.asked[-1].shorten


def test_low_detail_is_one_tile(client: TestClient, engine: StubEngine) -> None:
    """An image of low detail is not cut into tiles."""
    ask(client, user(image_part(detail="low")))
    assert engine.asked[-1].max_tiles == 1
    ask(client, user(image_part(detail="high")))
    assert engine.asked[-1].max_tiles is None


NEUTRAL = {
    "frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False, "logit_bias": {}, "tools": [],
    "tool_choice": "auto", "response_format": {"type": "text"}, "store": False, "n": 1, "user": None,
}  # fmt: skip


def test_takes_parameters_that_change_nothing(client: TestClient) -> None:
    """A parameter that is not supported is taken where it asks for what is done anyway."""
    assert ask(client, **NEUTRAL).status_code == 200


UNSUPPORTED: dict[str, Any] = {
    "audio": {"voice": "x"}, "frequency_penalty": 0.5, "function_call": {"name": "f"},
    "functions": [{"name": "f"}], "logit_bias": {"5": 1}, "logprobs": True, "metadata": {"a": "b"},
    "modalities": ["text", "audio"], "moderation": {"model": "x"}, "n": 2, "parallel_tool_calls": "yes",
    "prediction": {"type": "content", "content": "x"}, "presence_penalty": 1, "prompt_cache_key": "x",
    "prompt_cache_options": {"a": 1}, "prompt_cache_retention": "24h", "reasoning_effort": "low",
    "response_format": {"type": "json_object"}, "safety_identifier": "x", "service_tier": "priority",
    "store": True, "tool_choice": "required", "tools": [{"type": "function"}], "top_logprobs": 3,
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
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase  # noqa: PLC0415

    from service.api.schemas.chat import ChatRequest  # noqa: PLC0415

    there = set(CompletionCreateParamsBase.__annotations__)
    assert there - set(ChatRequest.model_fields) - set(UNSUPPORTED) == set()


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
    "both details": ({"messages": user(image_part(detail="low"), image_part())}, "messages"),
    "not base64": ({"messages": user(image_part("data:image/png;base64,%"))}, f"{PART}.image_url.url"),
    "too many images": ({"messages": user(*[image_part()] * 17)}, "messages"),
    "hot": ({"temperature": 9}, "temperature"),
    "number as text": ({"max_tokens": "5"}, "max_tokens"),
    "two limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
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


@pytest.mark.parametrize(
    ("images", "param"), [(1, "messages.0.content.0.image_url.url"), (2, "messages")], ids=["one", "two"]
)
def test_an_image_that_the_engine_refuses_is_named(
    client: TestClient, engine: StubEngine, images: int, param: str
) -> None:
    """What the engine finds wrong with an image names its field in the messages."""
    engine.failure = RequestError(ErrorCode.INVALID_IMAGE, "damaged", field="image")
    response = ask(client, user(*[image_part()] * images))
    assert refusal(response) == (400, "invalid_image", param)


def test_the_limit_that_was_sent_is_the_one_named(client: TestClient, engine: StubEngine) -> None:
    """An answer that cannot fit names max_completion_tokens where that was sent."""
    engine.failure = RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, "long", field="max_tokens")
    assert refusal(ask(client, max_completion_tokens=5))[2] == "max_completion_tokens"
    assert refusal(ask(client, max_tokens=5))[2] == "max_tokens"


def test_large_bodies_are_read_whole(client: TestClient, engine: StubEngine) -> None:
    """An image too large to be read between two requests still arrives whole."""
    data = bytes(range(256)) * 4096
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    ask(client, user(image_part(url)))
    assert engine.asked[-1].turns[0].content == (EncodedImage(data),)


def test_chunks_are_those_of_the_reference(client: TestClient) -> None:
    """Every chunk of a stream is what the OpenAPI document says."""
    from service.api.schemas.chat import ChatChunk  # noqa: PLC0415

    lines = ask(client, stream=True, stream_options={"include_usage": True}).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        document = json.loads(line.removeprefix("data: "))
        assert ChatChunk.model_validate(document, strict=True, extra="forbid")


def test_another_model_is_served_under_its_own_name(connect: Connect) -> None:
    """The name that answers carry is the one that requests may ask for."""
    client = connect(served_model_name="captioner")
    assert ask(client, model="captioner").json()["model"] == "captioner"
    assert refusal(ask(client, model="embedded")) == (404, "not_found", "model")


def test_an_image_by_its_url_is_fetched(client: TestClient, engine: StubEngine, fetcher: StubFetcher) -> None:
    """An image that is named by an https URL is fetched by the server."""
    fetcher.files["https://example.com/a.png"] = IMAGE
    assert ask(client, user(image_part("https://example.com/a.png"))).status_code == 200
    assert engine.asked[-1].turns[0].content == (EncodedImage(IMAGE),)
    response = ask(client, user(image_part("https://example.com/b.png")))
    assert refusal(response) == (400, "image_fetch_failed", "messages.0.content.0.image_url.url")
