"""Requests that pass the router, and answers that come back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from service.settings import Settings
from tests.support.routing import CHAT, Model, answer, routed, send
from tests.support.server import free_port

STREAM = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @wraps(test)
    def call(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return call


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def picture(url: str, **fields: object) -> bytes:
    """A request with one image."""
    part = {"type": "image_url", "image_url": {"url": url}}
    return body(messages=[{"role": "user", "content": [part]}], **fields)


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


@run
async def test_a_request_reaches_the_model_that_it_names() -> None:
    """The body names the model, and reaches it unchanged below the model's own address."""
    models = {"a": Model(), "b": Model()}
    async with routed(models) as client:
        sent = body(model="b", messages=[])
        assert (await client.post(sent[:5], sent[5:])).status == 200
    (received,) = models["b"].received
    assert not models["a"].received
    assert (received.line, received.body) == (f"POST /b{CHAT} HTTP/1.1", sent)


@run
async def test_a_query_may_name_the_model() -> None:
    """Where there is no body, the query names the model."""
    models = {"a": Model(), "b": Model()}
    async with routed(models) as client:
        await client.get("/v1/tiles?model=a&width=10")
    assert models["a"].received[0].line == "GET /a/v1/tiles?model=a&width=10 HTTP/1.1"


@run
async def test_the_only_model_needs_no_name() -> None:
    """A request without a model reaches the only one; with several it is refused with their names."""
    async with routed({"a": Model()}) as client:
        assert (await client.post(body(messages=[]))).status == 200
    async with routed({"a": Model(), "b": Model()}) as client:
        refused = await client.post(body(messages=[]))
    error = json.loads(refused.body)["error"]
    assert (refused.status, error["param"]) == (400, "model")
    assert error["message"] == "model is missing; set it to one of: a, b"


@run
async def test_an_unknown_model_is_refused_as_by_openai() -> None:
    """An unknown model is a 404 with the code model_not_found and the names that exist."""
    async with routed({"a": Model(), "b": Model()}) as client:
        refused = await client.post(body(model="gpt-5"))
    assert refused.status == 404
    assert json.loads(refused.body)["error"] == {
        "message": "model gpt-5 does not exist; this address has: a, b",
        "type": "invalid_request_error",
        "code": "model_not_found",
        "param": "model",
    }


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
@run
async def test_what_is_not_a_json_object_is_refused(content: bytes) -> None:
    """A body that is not a JSON object is refused."""
    async with routed({"a": Model()}) as client:
        assert (await client.post(content)).status == 400


@run
async def test_headers_pass_in_both_directions() -> None:
    """The key, the identifier and unknown headers pass; those of one connection do not."""
    model = Model(lambda writer: answer(writer, head="ratelimit: 5\r\nkeep-alive: timeout=5\r\n"))
    async with routed({"a": model}) as client:
        given = {"authorization": "Bearer KEY", "x_request_id": "mine", "x_team": "1", "connection": "x-team"}
        back = await client.post(body(), **given)
    headers = model.received[0].headers
    assert (headers["authorization"], headers["x-request-id"]) == ("Bearer KEY", "mine")
    assert "x-team" not in headers
    assert (back.headers["ratelimit"], back.headers["x-request-id"]) == ("5", "mine")
    assert "keep-alive" not in back.headers


@run
async def test_the_same_image_has_the_same_affinity() -> None:
    """Requests with the same first image prefer the same replica; those without one are spread."""
    model = Model()
    async with routed({"a": model}) as client:
        bodies = [picture("data:,x"), picture("data:,x", temperature=1), picture("data:,y"), body(), body()]
        for content in bodies:
            await client.post(content)
    first, same, *others = [received.headers["x-capstan-affinity"] for received in model.received]
    assert first == same
    assert len({first, *others}) == 4


@run
async def test_a_stream_passes_piece_by_piece() -> None:
    """The client has the first event before the model has sent the second."""
    seen = asyncio.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        await send(writer, f"HTTP/1.1 200 OK\r\n{STREAM}\r\n".encode() + chunk(b"data: 1\n\n"))
        await seen.wait()
        await send(writer, chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    async with routed({"a": Model(stream)}) as client:
        exchange = client.start(CHAT, body())
        assert (await exchange.next())["status"] == 200
        assert (await exchange.next())["body"] == b"data: 1\n\n"
        seen.set()
        assert (await exchange.next())["body"] == b"data: 2\n\n"
        assert not (await exchange.next())["more_body"]


@pytest.mark.parametrize("started", [False, True], ids=["before the answer", "in the middle"])
@run
async def test_a_client_that_disconnects_cancels_its_request(started: bool) -> None:
    """If the client disconnects, the model's server sees that at once."""
    arrived = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        if started:
            await send(writer, f"HTTP/1.1 200 OK\r\n{STREAM}\r\n".encode() + chunk(b"data: 1\n\n"))
        arrived.set()
        await asyncio.Event().wait()

    model = Model(stall)
    async with routed({"a": model}) as client:
        exchange = client.start(CHAT, body())
        await asyncio.wait_for(arrived.wait(), 10)
        exchange.disconnect()
        await asyncio.wait_for(model.disconnected.wait(), 10)
        await asyncio.wait_for(exchange.task, 10)


@run
async def test_a_stream_that_breaks_off_ends_with_an_error() -> None:
    """If the model dies in the middle of a stream, the last event is an error, after half an event too."""

    async def die(writer: asyncio.StreamWriter) -> None:
        await send(writer, f"HTTP/1.1 200 OK\r\n{STREAM}\r\n".encode() + chunk(b"data: 1\n\ndata: {"))

    async with routed({"a": Model(die)}) as client:
        got = await client.post(body())
    last = got.body.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert got.complete


@run
async def test_an_answer_that_breaks_off_is_incomplete() -> None:
    """If the model dies in the middle of another answer, the client gets no more than that."""

    async def die(writer: asyncio.StreamWriter) -> None:
        await send(writer, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")

    async with routed({"a": Model(die)}) as client:
        got = await client.post(body())
    assert (got.body, got.complete) == (b"half", False)


async def close(writer: asyncio.StreamWriter) -> None:
    """Accept a request and answer nothing."""
    writer.close()


@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "closes"])
@run
async def test_a_model_that_cannot_be_reached_is_not_ready(listens: bool) -> None:
    """A server that refuses the connection, or closes it, is a 503 that names the model."""
    models = {"a": Model(close) if listens else f"http://127.0.0.1:{free_port()}"}
    async with routed(models) as client:
        got = await client.post(body())
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    error = json.loads(got.body)["error"]
    assert (error["code"], error["message"]) == ("not_ready", "model a cannot be reached; try again later")


@run
async def test_a_model_that_serve_does_not_know_is_not_ready() -> None:
    """The 404 of Serve's proxy, for an application that is not deployed yet, becomes a 503."""

    async def unknown(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx"
        await send(writer, head)

    async with routed({"a": Model(unknown)}) as client:
        assert (await client.post(body())).status == 503


@run
async def test_a_model_that_is_too_slow_is_a_timeout() -> None:
    """A model that answers nothing in time is a 504."""

    async def stall(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with routed({"a": Model(stall)}, seconds=0.1) as client:
        got = await client.post(body())
    assert (got.status, json.loads(got.body)["error"]["code"]) == (504, "deadline_exceeded")


@run
async def test_a_body_over_the_limit_is_refused_by_its_announced_length() -> None:
    """A body over the limit is refused before it is read, and reaches no model."""
    model = Model()
    async with routed({"a": model}, Settings(max_request_bytes=100)) as client:  # type: ignore[arg-type]
        refused = await client.post(b"x" * 50, content_length="101")
        late = await client.post(b"x" * 60, b"x" * 60)
    assert (refused.status, late.status) == (413, 413)
    assert not model.received


@run
async def test_bodies_in_progress_share_a_limit() -> None:
    """While requests in progress hold the memory for bodies, the next one is turned away."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        await answer(writer)

    settings = Settings(max_request_bytes=100, max_total_request_bytes=100)  # type: ignore[arg-type]
    content = body(model="a", user="x" * 50)
    async with routed({"a": Model(wait)}, settings) as client:
        first = client.start(CHAT, content)
        await asyncio.wait_for(arrived.wait(), 10)
        assert (await client.post(content)).status == 503
        release.set()
        assert (await first.answer()).status == 200
