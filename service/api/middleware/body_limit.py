"""Limits on request bodies, enforced while they arrive: bytes of one, bytes of all together, seconds."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorCode, Refusal, RequestError


class BodyLimitMiddleware:
    """Stops reading a body after `limit` bytes, announced or not, or after `seconds`.

    The bodies of all requests in progress share `total` bytes; a single body of `limit` bytes always fits.
    Errors are raised where the route reads the body, so that they are rendered like any other.
    """

    def __init__(self, app: ASGIApp, *, limit: int, total: int, seconds: float) -> None:
        self.app = app
        self.limit = limit
        self.total = max(total, limit)
        self.seconds = seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        deadline = time.monotonic() + self.seconds
        read, complete = 0, False

        async def receive_within_limits() -> Message:
            nonlocal read, complete
            if not read and announced.isdecimal():
                self._check(int(announced), self.held + int(announced))
            if complete:  # the only message left is the client's disconnect
                return await receive()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow(read) from None
            size = len(message.get("body", b""))
            read += size
            self.held += size
            complete = not message.get("more_body", False)
            self._check(read, self.held)
            return message

        try:
            await self.app(scope, receive_within_limits, send)
        finally:
            self.held -= read

    def _check(self, size: int, held: int) -> None:
        """Raise RequestError if a body, or with it all bodies together, are over their limit."""
        if size > self.limit:
            raise RequestError(
                ErrorCode.REQUEST_TOO_LARGE,
                f"request body is at least {size} bytes; the limit is {self.limit} "
                "(CAPSTAN_MAX_REQUEST_BYTES); send smaller images, or fewer per request",
            )
        if held > self.total:
            raise RequestError(
                ErrorCode.OVERLOADED,
                f"bodies of the requests in progress are {held} bytes; the limit is {self.total} "
                "(CAPSTAN_MAX_TOTAL_REQUEST_BYTES); try again later",
                refusal=Refusal.BODIES,
            )

    def _too_slow(self, read: int) -> RequestError:
        return RequestError(
            ErrorCode.REQUEST_TOO_SLOW,
            f"request body is incomplete after {self.seconds:g} s, the limit (CAPSTAN_BODY_TIMEOUT); "
            f"{read} bytes arrived; send it faster or make it smaller",
        )
