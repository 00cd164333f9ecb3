"""Refuses what a full replica cannot take, before anything else is done for the request.

Clients that try again at once must not keep the replica from answering others. In front of Serve's own server
a refusal costs a tenth of what it costs in a route.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth.middleware import Authenticator
from service.api.errors import error_body, error_headers
from service.api.middleware.request_log import HEADER, request_id_of
from service.errors import ERRORS, RequestError
from service.metrics.record import GENERATING, RequestRecord
from service.protocol.engine import ServingEngine

logger = logging.getLogger("capstan.access")

PATHS = tuple(GENERATING)
# A request waits so long for a place, which also holds back clients that try again at once.
WAIT_SECONDS = 0.05
# There is one log line for all refusals of this time.
LOG_SECONDS = 5.0


class EarlyRefusalMiddleware:
    """Lets a request through if the engine has a place for its client, now or in `WAIT_SECONDS`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        engine: ServingEngine,
        authenticator: Authenticator,
        model: str,
        observe: Callable[[RequestRecord], None],
    ) -> None:
        self.app = app
        self.engine = engine
        self.authenticator = authenticator
        self.model = model
        self.observe = observe
        self._refused = 0
        self._logged_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(PATHS):
            start = time.monotonic()
            client = await self._client(Headers(scope=scope))
            if client is not None and self._error(client) is not None:
                await asyncio.sleep(WAIT_SECONDS)
                if (error := self._error(client)) is not None:
                    request_id = await _send_error(scope, send, error)
                    self._record(scope, error, client=client, start=start, request_id=request_id)
                    return
        await self.app(scope, receive, send)

    async def _client(self, headers: Headers) -> str | None:
        """The name of the request's key, "" on a server without keys, None for a key that is not known."""
        keys = self.authenticator.keys
        if keys is None:
            return ""
        try:
            return self.authenticator.grant(headers, await keys.current()).key.name
        except RequestError:
            return None

    def _error(self, client: str) -> RequestError | None:
        try:
            self.engine.check_admission(client)
        except RequestError as error:
            return error
        return None

    def _record(
        self, scope: Scope, error: RequestError, *, client: str, start: float, request_id: str
    ) -> None:
        now = time.monotonic()
        self.observe(
            RequestRecord(
                request_id=request_id,
                method=scope["method"],
                path=scope["path"],
                route=next(route for route in PATHS if scope["path"].endswith(route)),
                status=ERRORS[error.code].status,
                code=error.code,
                refusal=error.refusal,
                key=client,
                model=self.model,
                start=start,
                seconds=now - start,
            )
        )
        self._refused += 1
        if now - self._logged_at >= LOG_SECONDS:
            logger.warning("%d requests refused; the last: %s", self._refused, error.message)
            self._refused, self._logged_at = 0, now


async def _send_error(scope: Scope, send: Send, error: RequestError) -> str:
    """Answer without reading the body, and keep the connection; returns the id of the request."""
    request_id = request_id_of(Headers(scope=scope))
    body = error_body(error, request_id).model_dump_json().encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        HEADER: request_id,
        **error_headers(error),
    }
    start = {
        "type": "http.response.start",
        "status": ERRORS[error.code].status,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
    return request_id
