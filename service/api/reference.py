"""What OpenAPI says of a route's errors: one table (`service.errors`), an example each."""

from collections import defaultdict
from typing import Any

from service.api.schemas.errors import ErrorDetail, ErrorResponse
from service.errors import ERRORS, ErrorCode

# What any route that asks for a key can answer.
KEYED = (ErrorCode.INVALID_API_KEY, ErrorCode.RATE_LIMITED)
# What any route that is handed a body can answer.
COMMON = (
    *KEYED,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.REQUEST_TOO_SLOW,
    ErrorCode.INTERNAL_ERROR,
)
# What any route that uses the engine on images can answer beside.
GENERATING = (
    *COMMON,
    ErrorCode.MODEL_FORBIDDEN,
    ErrorCode.INVALID_IMAGE,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.IMAGE_TOO_LARGE,
    ErrorCode.IMAGE_URL_FORBIDDEN,
    ErrorCode.IMAGE_FETCH_FAILED,
    ErrorCode.CONTEXT_LENGTH_EXCEEDED,
    ErrorCode.OVERLOADED,
    ErrorCode.NOT_READY,
    ErrorCode.DEADLINE_EXCEEDED,
)

# One server-sent event. Source: WHATWG HTML, "Server-sent events".
EVENT = {
    "type": "object",
    "description": "Each of the events; `data` is JSON.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


def refusals(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these codes."""
    by_status: dict[int, list[ErrorCode]] = defaultdict(list)
    for code in codes:
        by_status[ERRORS[code].status].append(code)
    return {status: _response(found) for status, found in sorted(by_status.items())}


def _response(codes: list[ErrorCode]) -> dict[str, Any]:
    return {
        "model": ErrorResponse,
        "description": " ".join(f"`{code}`: {ERRORS[code].when}" for code in codes),
        "content": {"application/json": {"examples": {code.value: _example(code) for code in codes}}},
    }


def _example(code: ErrorCode) -> dict[str, Any]:
    kind = ERRORS[code]
    detail = ErrorDetail(
        message=f"{kind.when} {kind.remedy}",
        type="server_error" if kind.status >= 500 else "invalid_request_error",
        code=code,
    )
    body = ErrorResponse(error=detail, request_id="0f8fad5bd9cb469fa16570867728950e")
    return {"summary": kind.when, "value": body.model_dump(mode="json")}
