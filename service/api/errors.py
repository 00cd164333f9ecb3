"""Errors as clients see them: one table from code to status, one JSON form."""

import logging
import math

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.request_state import state_of
from service.api.schemas.errors import ErrorDetail, ErrorResponse
from service.errors import ERRORS, ErrorCode, RequestError

logger = logging.getLogger("capstan.api")

# For errors that carry no `retry_after` of their own.
RETRY_AFTER_SECONDS = {ErrorCode.OVERLOADED: 1.0, ErrorCode.NOT_READY: 1.0}


class UnhandledErrorMiddleware:
    """Answers exceptions that are bugs with a 500 that reveals nothing, and logs the traceback.

    Starlette's own handler raises them again after its response, so the server would log them twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            request_id = state_of(scope).request_id
            logger.exception("request_id=%s failed", request_id, extra={"request_id": request_id})
            await render(scope, internal_error())(scope, receive, send)


def render(scope: Scope, error: RequestError) -> Response:
    """The response to a request that failed."""
    state = state_of(scope)
    state.failed(error)
    body = error_body(error, state.request_id)
    status = ERRORS[error.code].status
    return Response(body.model_dump_json(), status, error_headers(error), media_type="application/json")


def error_headers(error: RequestError) -> dict[str, str]:
    """The headers of a response that says so."""
    headers = {}
    retry_after = error.retry_after or RETRY_AFTER_SECONDS.get(error.code)
    if retry_after is not None:
        # The header takes whole seconds only.
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    if error.code is ErrorCode.INVALID_API_KEY:
        headers["www-authenticate"] = "Bearer"
    if error.code is ErrorCode.REQUEST_TOO_SLOW:
        # The rest of the body will not be read.
        headers["connection"] = "close"
    return headers


def error_body(error: RequestError, request_id: str) -> ErrorResponse:
    """The JSON form of an error."""
    return ErrorResponse(error=error_detail(error), request_id=request_id)


def error_detail(error: RequestError) -> ErrorDetail:
    """The `error` object of the JSON form."""
    return ErrorDetail(
        message=error.message,
        type="server_error" if ERRORS[error.code].status >= 500 else "invalid_request_error",
        code=error.code,
        param=error.field,
    )


def internal_error() -> RequestError:
    """Return what a client may know about a bug."""
    return RequestError(ErrorCode.INTERNAL_ERROR, "the server failed on this request; its log has the cause")
