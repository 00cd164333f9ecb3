"""Errors as clients see them: one table from code to status, one JSON form."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.api.request_id import request_id
from service.api.schemas import ErrorDetail, ErrorResponse
from service.errors import ERRORS, ErrorCode, RequestError

RETRY_AFTER_SECONDS = "1"


def render(request: Request, error: RequestError) -> Response:
    """The answer to a request that failed."""
    status = ERRORS[error.code].status
    identifier = request_id(request.scope)
    body = ErrorResponse(
        error=ErrorDetail(
            message=error.message,
            type="server_error" if status >= 500 else "invalid_request_error",
            code=error.code,
            param=error.field,
        ),
        request_id=identifier,
    )
    headers = {}
    if error.code in (ErrorCode.OVERLOADED, ErrorCode.NOT_READY):
        headers["retry-after"] = RETRY_AFTER_SECONDS
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def field_error(error: ValidationError | RequestValidationError) -> RequestError:
    """The first complaint of a validation, in words of this API; the value itself is not repeated."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    kind = first["type"]
    if kind == "extra_forbidden":
        message = f"{field} is not a field of this request; see /docs for those there are"
    elif kind == "json_invalid":
        message = "the body is not valid JSON"
        field = ""
    else:
        message = f"{field or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field or None)


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
