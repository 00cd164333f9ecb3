"""One identifier, one log line and one record per request."""

import logging
import re
import secrets
from dataclasses import dataclass
from time import monotonic
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.request_state import STATE, RequestState
from service.metrics.record import RequestRecord, route_of
from service.metrics.telemetry import Telemetry

HEADER = "x-request-id"

logger = logging.getLogger("capstan.access")

# The identifier goes into logs, so it must not forge a line or grow without bound.
ACCEPTED = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_PATH = 256  # characters, percent-encoded


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """What the log says about a request: the text of its line, or the fields of its JSON document.

    Status 0: no response was started, for instance because the client disconnected. Numbers of tokens count
    answers that were broken off, too; `first_token_seconds` is the longest of them.
    """

    method: str
    path: str
    status: int
    seconds: float
    key: str
    model: str
    code: str | None
    request_id: str
    images: int = 0
    image_tiles: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_seconds: float = 0.0
    first_token_seconds: float = 0.0

    @classmethod
    def of(cls, record: RequestRecord) -> "RequestEntry":
        """What the log says about this request."""
        answers = record.completions
        return cls(
            method=record.method,
            path=quote(record.path)[:MAX_PATH],
            status=record.status,
            seconds=round(record.seconds, 6),
            key=record.key,
            model=record.model,
            code=record.code,
            request_id=record.request_id,
            images=record.images,
            image_tiles=record.usage.image_tiles,
            prompt_tokens=record.usage.prompt_tokens,
            completion_tokens=record.usage.completion_tokens,
            queue_seconds=round(
                max((answer.timings.queue + answer.timings.ready for answer in answers), default=0), 6
            ),
            first_token_seconds=round(max((answer.timings.first_token for answer in answers), default=0), 6),
        )

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path} {self.status} {1000 * self.seconds:.1f} ms "
            f"key={self.key or '-'} request_id={self.request_id}"
        )


def request_id_of(headers: Headers) -> str:
    """The identifier that the client sent, if it can stand in a log, or a new one."""
    given = headers.get(HEADER, "")
    return given if ACCEPTED.fullmatch(given) else secrets.token_hex(16)


class RequestLogMiddleware:
    """Creates the `RequestState`, sets the headers that every response has, logs and records the request.

    The identifier is the client's `X-Request-ID` if it is harmless, else a new one. Every response forbids
    browsers to guess its media type. `id_header` is False under Ray Serve, which sets `X-Request-ID` itself;
    `model` is the name of the served model. `telemetry` begins the trace of each request and
    gets its record at the end.
    """

    def __init__(self, app: ASGIApp, *, model: str, id_header: bool, telemetry: Telemetry) -> None:
        self.app = app
        self.model = model
        self.id_header = id_header
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, route = Headers(scope=scope), route_of(scope["path"], scope.get("root_path", ""))
        trace = self.telemetry.begin(scope["method"], route, headers)
        state = RequestState(request_id_of(headers), trace)
        scope.setdefault("state", {})[STATE] = state
        status = 0

        async def receive_and_note() -> Message:
            message = await receive()
            if state.body_read is None and not message.get("more_body", False):
                state.body_read = monotonic()
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response = MutableHeaders(scope=message)
                response["x-content-type-options"] = "nosniff"
                if self.id_header:
                    response[HEADER] = state.request_id
                if trace is not None:
                    response["traceresponse"] = trace.response_header
            await send(message)

        try:
            await self.app(scope, receive_and_note, send_with_headers)
        finally:
            record = self._record(scope, route, state, status)
            logger.info(RequestEntry.of(record))
            self.telemetry.record(record, trace)

    def _record(self, scope: Scope, route: str, state: RequestState, status: int) -> RequestRecord:
        broken_off = state.broken_off()
        return RequestRecord(
            request_id=state.request_id,
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=status,
            code=state.code,
            refusal=state.refusal,
            key=state.key_name,
            model=self.model,
            start=state.start,
            seconds=monotonic() - state.start,
            body_seconds=0.0 if state.body_read is None else state.body_read - state.start,
            images=state.images + sum(images for _, images in broken_off),
            completions=tuple(state.completions),
            broken_off=tuple(usage for usage, _ in broken_off),
            ended=tuple(state.ended),
            fetches=tuple(state.fetches),
        )
