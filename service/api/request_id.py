"""One identifier a request, in the answer's body, in its `X-Request-ID` header and in every log line."""

import logging
import re
from time import perf_counter
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.access.grant import client_of_scope

HEADER = "x-request-id"

logger = logging.getLogger("capstan.access")

# What a client sends goes into logs: nothing that could forge a line or grow without bound.
ACCEPTED = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_PATH = 256  # characters, percent-encoded


def request_id(scope: Scope) -> str:
    """The identifier that `RequestIdMiddleware` gave to the request."""
    value = scope["state"]["request_id"]
    assert isinstance(value, str)  # noqa: S101 - the middleware is the only writer
    return value


class RequestIdMiddleware:
    """Takes the client's identifier if it is harmless, else makes one; logs one line a request.

    `header` is False under Ray Serve, which writes the header itself.
    """

    def __init__(self, app: ASGIApp, *, header: bool) -> None:
        self.app = app
        self.header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        identifier = given if ACCEPTED.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = identifier
        status, start = 0, perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.header:
                    MutableHeaders(scope=message)[HEADER] = identifier
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            # Status 0: no answer began, for instance because the client went away.
            logger.info(
                "%s %s %d %.1f ms key=%s request_id=%s",
                scope["method"], quote(scope["path"])[:MAX_PATH], status, 1000 * (perf_counter() - start),
                client_of_scope(scope) or "-", identifier,
            )  # fmt: skip
