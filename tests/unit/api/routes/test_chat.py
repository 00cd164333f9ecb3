"""POST /v1/chat/completions over an engine that answers at once, through the official client."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient
from openai import AsyncOpenAI

from service.errors import ErrorCode, RequestError
from tests.unit.api.conftest import CAPTION, Connect, StubEngine
from tests.unit.api.routes.chats import QUESTION, ask, image_part, refusal, user


@pytest.fixture
def openai_client(client: TestClient) -> Callable[[], AsyncOpenAI]:
    def make() -> AsyncOpenAI:
        transport = httpx.ASGITransport(client.app)
        http = httpx.AsyncClient(transport=transport)
        return AsyncOpenAI(base_url="http://server/v1", api_key="none", http_client=http, max_retries=0)

    return make


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
        await openai_client().chat.completions.create(model="embedded", messages=[QUESTION], store=True)  # type: ignore[list-item]
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "store")
    with pytest.raises(openai.NotFoundError):
        await openai_client().chat.completions.create(model="gpt-4o", messages=[QUESTION])  # type: ignore[list-item]
    engine.failure = RequestError(ErrorCode.INTERNAL_ERROR, "broken")
    with pytest.raises(openai.InternalServerError):
        await openai_client().chat.completions.create(model="embedded", messages=[QUESTION])  # type: ignore[list-item]


@pytest.mark.anyio
async def test_the_official_client_gets_several_answers(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine
) -> None:
    """With `n` there are as many choices, each with a seed of its own, and the prompt counts once."""
    answer = await openai_client().chat.completions.create(
        model="embedded",
        messages=[QUESTION],  # type: ignore[list-item]
        n=3,
        seed=2**63 - 2,
        temperature=1.0,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == [CAPTION + " "] * 3
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        60,
        27,
        87,
    )
    assert [request.sampling.seed for request in engine.asked] == [2**63 - 2, 2**63 - 1, -(2**63)]


@pytest.mark.anyio
async def test_a_stream_of_several_answers_has_their_indexes(
    openai_client: Callable[[], AsyncOpenAI],
) -> None:
    """The chunks of several answers come interleaved, each with the index of its answer and its own end."""
    stream: AsyncIterator[Any] = await openai_client().chat.completions.create(
        model="embedded", messages=[QUESTION], stream=True, n=2, stream_options={"include_usage": True}
    )  # type: ignore[call-overload]
    chunks = [chunk async for chunk in stream]
    texts, reasons, order = ["", ""], [list[str](), list[str]()], list[int]()
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        reasons[choice.index] += [choice.finish_reason] if choice.finish_reason else []
        order.append(choice.index)
    assert [text.strip() for text in texts] == [CAPTION] * 2
    assert reasons == [["stop"], ["stop"]]
    assert sorted(order) != order
    assert chunks[-1].usage.total_tokens == 78


def test_more_answers_than_the_limit_are_refused(connect: Connect) -> None:
    """An `n` beyond the setting, or beyond what is computed together, names the limit and its setting."""
    many = ask(connect(max_answers=4), n=5)
    assert refusal(many) == (400, "invalid_request", "n")
    assert "the limit is 4 answers a request (CAPSTAN_MAX_ANSWERS)" in many.json()["error"]["message"]
    few = ask(connect(max_concurrent_sequences=2), n=3)
    assert "(CAPSTAN_MAX_CONCURRENT_SEQUENCES)" in few.json()["error"]["message"]
    assert refusal(ask(connect(), n=0))[2] == "n"


def test_several_answers_are_one_request_in_the_ledger(connect: Connect, tmp_path: Path) -> None:
    """The usage of a request for several answers counts its prompt and its image once, and all tokens."""
    client = connect(usage_ledger=tmp_path)
    assert ask(client, user(image_part()), n=3).status_code == 200
    assert ask(client, user(image_part()), n=3, stream=True).status_code == 200
    (file,) = tmp_path.iterdir()
    for line in map(json.loads, file.read_text().splitlines()):
        assert (line["images"], line["image_tiles"], line["prompt_tokens"]) == (1, 5, 60)
        assert line["completion_tokens"] == 27


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_that_fails_ends_the_others(
    openai_client: Callable[[], AsyncOpenAI], engine: StubEngine, stream: bool
) -> None:
    """Where one of several answers fails, the request does, and the others are given up."""
    engine.failure = RequestError(ErrorCode.INTERNAL_ERROR, "broken")
    with pytest.raises(openai.InternalServerError):
        await openai_client().chat.completions.create(
            model="embedded", messages=[QUESTION], n=2, stream=stream
        )  # type: ignore[call-overload]
    assert engine.cancelled


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


def test_chunks_are_those_of_the_reference(client: TestClient) -> None:
    """Every chunk of a stream is what the OpenAPI document says."""
    from service.api.schemas.completion import ChatChunk  # noqa: PLC0415

    lines = ask(client, stream=True, stream_options={"include_usage": True}).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        document = json.loads(line.removeprefix("data: "))
        assert ChatChunk.model_validate(document, strict=True, extra="forbid")


def test_another_model_is_served_under_its_own_name(connect: Connect) -> None:
    """The name that answers carry is the one that requests may ask for."""
    client = connect(served_model_name="captioner")
    assert ask(client, model="captioner").json()["model"] == "captioner"
    assert refusal(ask(client, model="embedded")) == (404, "model_not_found", "model")
