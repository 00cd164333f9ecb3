"""One identifier and one log line for each request."""

import logging
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware.request_log import HEADER, MAX_PATH, request_id_of
from service.api.request_state import STATE, RequestState
from service.router.metrics import RouterMetrics
from service.router.models import MODEL

logger = logging.getLogger("capstan.access")


@dataclass(frozen=True, slots=True)
class RoutedEntry:
    """What the log says about a request: the text of its line, or the fields of its JSON document.

    Status 0: no answer was started. `model` is empty if the request has reached none.
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
            f"key={self.key or '-'} model={self.model or '-'} request_id={self.request_id}"
        )


class RoutedLogMiddleware:
    """Creates the `RequestState`, sets the headers that every answer has, logs the request and counts it."""

    def __init__(self, app: ASGIApp, *, metrics: RouterMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = RequestState(request_id_of(Headers(scope=scope)))
        scope.setdefault("state", {}).update({STATE: state, MODEL: ""})
        status, start = 0, perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers[HEADER] = state.request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            entry = RoutedEntry(
                method=scope["method"],
                path=quote(scope["path"])[:MAX_PATH],
                status=status,
                seconds=perf_counter() - start,
                key=state.key_name,
                model=scope["state"][MODEL],
                code=state.code,
                request_id=state.request_id,
            )
            logger.info(entry)
            self.metrics.record(entry.model, status=status, code=entry.code or "", seconds=entry.seconds)
