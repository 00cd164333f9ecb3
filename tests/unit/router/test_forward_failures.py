"""Requests that the router refuses or that break off, and models that do not answer."""

import asyncio
import json

import pytest

from service.settings import Settings
from tests.support.routing import CHAT, Model, answer, routed, send
from tests.support.server import free_port
from tests.unit.router.exchange import STREAM, body, chunk, close, run


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
