"""One identifier and one log line per request."""

import logging
import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """What the log says about a request: the text of its line, or the fields of its JSON document.

    Status 0: no response was started, for instance because the client disconnected.
    """

    method: str
    path: str
    status: int
    seconds: float
    key: str
    model: str
    code: str | None
    request_id: str

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path} {self.status} {1000 * self.seconds:.1f} ms "
            f"key={self.key or '-'} request_id={self.request_id}"
        )


class RequestLogMiddleware:
    """Creates the `RequestState`, sets the headers that every response has, and logs the request.

    The identifier is the client's `X-Request-ID` if it is harmless, else a new one. Every response forbids
    browsers to guess its media type. `id_header` is False under Ray Serve, which sets `X-Request-ID` itself;
    `model` is the name of the served model.
    """

    def __init__(self, app: ASGIApp, *, model: str, id_header: bool) -> None:
        self.app = app
        self.model = model
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
            self._log(scope, state, status, perf_counter() - start)

    def _log(self, scope: Scope, state: RequestState, status: int, seconds: float) -> None:
        entry = RequestEntry(
            method=scope["method"],
            path=quote(scope["path"])[:MAX_PATH],
            status=status,
            seconds=seconds,
            key=state.key_name,
            model=self.model,
            code=state.code,
            request_id=state.request_id,
        )
        logger.info(entry)
