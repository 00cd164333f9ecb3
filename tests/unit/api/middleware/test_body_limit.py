"""How many bytes a body may have, and how long it may take."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.middleware.body_limit import BodyLimitMiddleware
from service.errors import ErrorCode, RequestError
from tests.unit.api.conftest import Connect
from tests.unit.api.partial_requests import ROUTES, application, status_of
from tests.unit.api.routes.captions import error


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_stops_is_given_up(path: str, connect: Connect) -> None:
    """A body that is incomplete at its deadline gets a 408, and its connection is closed."""
    begun: Message = {"type": "http.request", "body": b'{"image":', "more_body": True}
    app = application(connect(body_timeout=0.01))
    status, headers = asyncio.run(status_of(app, path, begun))
    assert (status, headers[b"connection"]) == (408, b"close")


def test_the_deadline_ends_with_the_body() -> None:
    """Once the body is complete, a disconnect may come at any time."""
    received = list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([(await receive())["type"], (await receive())["type"]])

    async def serve() -> None:
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": b"{}"}]

        async def receive() -> Message:
            if messages:
                asyncio.get_running_loop().call_later(0.03, gone.set)
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError

        await BodyLimitMiddleware(app, limit=9, total=9, seconds=0.01)(
            {"type": "http", "headers": []}, receive, send
        )

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert received == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_refuses_a_body_of_too_many_bytes(connect: Connect, announced: bool) -> None:
    """A body over its limit gets a 413, whether its length was announced or not."""
    content = b'{"image": "' + b"A" * 4096 + b'"}'
    body: Any = content if announced else iter([content[:100], content[100:]])
    response = connect(max_request_bytes=1024).post(
        "/caption", content=body, headers={"content-type": "application/json"}
    )
    assert (response.status_code, error(response)["code"]) == (413, "request_too_large")


class Uploads:
    """Requests to an application that reads a body and answers when it is released."""

    def __init__(self, *, limit: int, total: int) -> None:
        self.released = asyncio.Event()
        self._guarded = BodyLimitMiddleware(self._app, limit=limit, total=total, seconds=10)

    async def _app(self, scope: Scope, receive: Receive, _: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        scope["read"].set()
        await self.released.wait()

    async def begin(self, *pieces: bytes, announced: int | None = None) -> "asyncio.Task[None]":
        """Send a body; returns the request once its body is read, or it has failed."""
        left = [
            {"type": "http.request", "body": piece, "more_body": index < len(pieces)}
            for index, piece in enumerate(pieces, 1)
        ]
        headers = [] if announced is None else [(b"content-length", str(announced).encode())]
        read = asyncio.Event()
        scope = {"type": "http", "headers": headers, "read": read}

        async def receive() -> Message:
            return left.pop(0)

        async def send(message: Message) -> None:
            raise AssertionError

        request = asyncio.ensure_future(self._guarded(scope, receive, send))
        waiting = asyncio.ensure_future(read.wait())
        await asyncio.wait({request, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return request


@pytest.mark.parametrize("announced", [6, None], ids=["announced", "chunked"])
def test_all_bodies_together_have_a_limit(announced: int | None) -> None:
    """A body that does not fit next to those of other requests gets a 503; when one of them ends, it fits."""

    async def upload() -> None:
        uploads = Uploads(limit=8, total=10)
        first = await uploads.begin(b"12345")
        refused = await uploads.begin(b"123", b"456", announced=announced)
        with pytest.raises(RequestError, match="are 11 bytes; the limit is 10") as caught:
            await refused
        assert caught.value.code is ErrorCode.OVERLOADED
        second = await uploads.begin(b"12345")
        uploads.released.set()
        await asyncio.gather(first, second)
        await (await uploads.begin(b"123", b"456", announced=announced))

    asyncio.run(asyncio.wait_for(upload(), 10))


def test_one_body_of_the_full_size_always_fits() -> None:
    """A total below the limit of one body does not lower that limit."""

    async def upload() -> None:
        uploads = Uploads(limit=8, total=1)
        uploads.released.set()
        await (await uploads.begin(b"12345678"))

    asyncio.run(asyncio.wait_for(upload(), 10))
