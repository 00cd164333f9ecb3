"""Limits on request bodies, enforced while they arrive: a number of bytes and a number of seconds."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorCode, RequestError


class BodyLimitMiddleware:
    """Stops reading a body after `limit` bytes, announced or not, or after `seconds`.

    The error is raised where the route reads the body, so that it is rendered like any other.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        deadline = time.monotonic() + self.seconds
        read, complete = 0, False

        async def receive_within_limit() -> Message:
            nonlocal read, complete
            if announced.isdecimal() and int(announced) > self.limit:
                raise self._too_large(int(announced))
            if complete:  # the only message left is the client's disconnect
                return await receive()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow(read) from None
            read += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if read > self.limit:
                raise self._too_large(read)
            return message

        await self.app(scope, receive_within_limit, send)

    def _too_large(self, size: int) -> RequestError:
        return RequestError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"request body is at least {size} bytes; the limit is {self.limit} (CAPSTAN_MAX_REQUEST_BYTES); "
            "send smaller images, or fewer per request",
        )

    def _too_slow(self, read: int) -> RequestError:
        return RequestError(
            ErrorCode.REQUEST_TOO_SLOW,
            f"request body is incomplete after {self.seconds:g} s, the limit (CAPSTAN_BODY_TIMEOUT); "
            f"{read} bytes arrived; send it faster or make it smaller",
        )
