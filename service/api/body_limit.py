"""A bound on request bodies, held while they arrive."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorCode, RequestError


class BodyLimitMiddleware:
    """Refuses to read more than `limit` bytes of a body, announced or not.

    The error is raised where the route reads, so that it is rendered like every other one.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        read = 0

        async def receive_within_limit() -> Message:
            nonlocal read
            if announced.isdecimal() and int(announced) > self.limit:
                raise self._refusal(int(announced))
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise self._refusal(read)
            return message

        await self.app(scope, receive_within_limit, send)

    def _refusal(self, size: int) -> RequestError:
        return RequestError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"request body is at least {size} bytes; the limit is {self.limit} (CAPSTAN_MAX_REQUEST_BYTES)",
        )
