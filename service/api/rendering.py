"""Errors as clients see them: one table from code to status, one JSON form."""

import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.api.request_id import request_id
from service.api.schemas.errors import ErrorDetail, ErrorResponse
from service.api.validation import field_error
from service.errors import ERRORS, ErrorCode, RequestError

# Where an error does not say itself when to try again.
RETRY_AFTER_SECONDS = {ErrorCode.OVERLOADED: 1.0, ErrorCode.NOT_READY: 1.0}


def render(request: Request, error: RequestError) -> Response:
    """The answer to a request that failed."""
    body = error_body(error, request_id(request.scope))
    status = ERRORS[error.code].status
    return Response(body.model_dump_json(), status, _headers(error), media_type="application/json")


def _headers(error: RequestError) -> dict[str, str]:
    headers = {}
    retry_after = error.retry_after or RETRY_AFTER_SECONDS.get(error.code)
    if retry_after is not None:
        # The header knows whole seconds alone.
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    if error.code is ErrorCode.INVALID_API_KEY:
        headers["www-authenticate"] = "Bearer"
    if error.code is ErrorCode.REQUEST_TOO_SLOW:
        # The rest of the body is not waited for.
        headers["connection"] = "close"
    return headers


def error_body(error: RequestError, identifier: str) -> ErrorResponse:
    """An error as JSON, with the request's identifier."""
    return ErrorResponse(error=error_detail(error), request_id=identifier)


def error_detail(error: RequestError) -> ErrorDetail:
    """What went wrong."""
    return ErrorDetail(
        message=error.message,
        type="server_error" if ERRORS[error.code].status >= 500 else "invalid_request_error",
        code=error.code,
        param=error.field,
    )


def internal_error() -> RequestError:
    """What a client learns of a bug."""
    return RequestError(ErrorCode.INTERNAL_ERROR, "the server failed on this request; its log says why")


def http_error(error: HTTPException) -> RequestError:
    """What Starlette itself refuses: unknown routes, wrong methods, broken multipart bodies."""
    if error.status_code == 404:
        return RequestError(ErrorCode.NOT_FOUND, "there is no such route; see /docs for those there are")
    if error.status_code == 405:
        return RequestError(ErrorCode.METHOD_NOT_ALLOWED, "this route does not take that method; see /docs")
    return RequestError(ErrorCode.INVALID_REQUEST, str(error.detail))


def add_error_handlers(app: FastAPI) -> None:
    """Render every exception that leaves a route."""

    async def on_request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)  # noqa: S101 - registered for this class alone
        return render(request, error)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return render(request, field_error(error))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        response = render(request, http_error(error))
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(RequestError, on_request_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
