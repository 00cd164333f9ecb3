"""One identifier and one log line per request."""

import logging
import re
from time import perf_counter
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.request_state import STATE, RequestState

HEADER = "x-request-id"

logger = logging.getLogger("capstan.access")

# The identifier goes into logs, so it must not forge a line or grow without bound.
ACCEPTED = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_PATH = 256  # characters, percent-encoded


class RequestLogMiddleware:
    """Creates the `RequestState`, sets the headers that every response has, and logs the request.

    The identifier is the client's `X-Request-ID` if it is harmless, else a new one. Every response forbids
    browsers to guess its media type. `id_header` is False under Ray Serve, which sets `X-Request-ID` itself.
    """

    def __init__(self, app: ASGIApp, *, id_header: bool) -> None:
        self.app = app
        self.id_header = id_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        state = RequestState(given if ACCEPTED.fullmatch(given) else uuid4().hex)
        scope.setdefault("state", {})[STATE] = state
        status, start = 0, perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                if self.id_header:
                    headers[HEADER] = state.request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            # Status 0: no response was started, for instance because the client disconnected.
            logger.info(
                "%s %s %d %.1f ms key=%s request_id=%s",
                scope["method"], quote(scope["path"])[:MAX_PATH], status, 1000 * (perf_counter() - start),
                state.key_name or "-", state.request_id,
            )  # fmt: skip
