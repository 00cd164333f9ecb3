"""How many bytes a body may have, and how long it may take."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.middleware.body_limit import BodyLimitMiddleware
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

        await BodyLimitMiddleware(app, limit=9, seconds=0.01)({"type": "http", "headers": []}, receive, send)

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
