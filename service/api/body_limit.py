"""Bounds on request bodies, held while they arrive: so many bytes, within so many seconds."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorCode, RequestError


class BodyLimitMiddleware:
    """Refuses to read more than `limit` bytes of a body, announced or not, or to wait for it over `seconds`.

    The error is raised where the route reads, so that it is rendered like every other one.
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
            if complete:  # all that can come is the news that the client has gone
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
            f"request body is at least {size} bytes; the limit is {self.limit} (CAPSTAN_MAX_REQUEST_BYTES)",
        )

    def _too_slow(self, read: int) -> RequestError:
        return RequestError(
            ErrorCode.REQUEST_TOO_SLOW,
            f"request body has not ended after {read} bytes and {self.seconds:g} s, the limit "
            "(CAPSTAN_BODY_TIMEOUT); send it faster",
        )
