"""Requests that pass the router, and answers that come back."""

import asyncio
import json

import pytest

from tests.support.routing import CHAT, Model, answer, routed, send
from tests.unit.router.exchange import STREAM, body, chunk, picture, run


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
