"""What OpenAPI says about a route: its error responses, and the bodies that a route reads itself."""

from collections import defaultdict
from typing import Any

from fastapi.responses import PlainTextResponse

from service.api.openapi.document import REFERENCE
from service.api.schemas.caption import CaptionListResponse, CaptionResponse, SamplingParams
from service.api.schemas.completion import ChatCompletion
from service.api.schemas.errors import ErrorDetail, ErrorResponse
from service.errors import ERRORS, ErrorCode

# What every route that needs a key can respond with.
KEYED = (ErrorCode.INVALID_API_KEY, ErrorCode.RATE_LIMITED)
# What every route that reads a body can respond with.
WITH_BODY = (
    *KEYED,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.REQUEST_TOO_SLOW,
    ErrorCode.INTERNAL_ERROR,
)
# What every route that sends images to the engine can respond with.
GENERATING = (
    *WITH_BODY,
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
    "description": "One event; `data` is JSON.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


def error_responses(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can respond with these codes."""
    by_status: dict[int, list[ErrorCode]] = defaultdict(list)
    for code in codes:
        by_status[ERRORS[code].status].append(code)
    return {status: _error_response(found) for status, found in sorted(by_status.items())}


def _error_response(codes: list[ErrorCode]) -> dict[str, Any]:
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


METRICS: dict[str, Any] = {
    "response_class": PlainTextResponse,
    "responses": {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **error_responses(ErrorCode.NOT_FOUND),
    },
}

FORM = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "The image file. Several files get a list of captions.",
        },
        "image_url": {"type": "string", "description": "Instead of a file: an https URL."},
        "image_path": {"type": "string", "description": "Instead of a file: a path on the server."},
        **SamplingParams.model_json_schema()["properties"],
    },
}

CAPTION_STREAM = """event: delta
data: {"text":"a red circle"}

event: delta
data: {"text":" left of a blue square"}

event: caption
data: {"caption":"a red circle left of a blue square","finish_reason":"stop","model":"embedded",\
"usage":{"prompt_tokens":60,"image_tiles":5,"completion_tokens":9},"request_id":"0f8fad5bd9cb469f"}

"""

CAPTION_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The caption; a list of captions for a list of images.",
        "model": CaptionResponse | CaptionListResponse,
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "a red circle left of a blue square",
            },
            "text/event-stream": {"schema": EVENT, "example": CAPTION_STREAM},
        },
    }
}

CAPTION: dict[str, Any] = {
    "response_model": None,
    "responses": CAPTION_RESPONSE
    | error_responses(
        *GENERATING,
        ErrorCode.IMAGE_PATH_FORBIDDEN,
        ErrorCode.IMAGE_NOT_FOUND,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": REFERENCE.format(model="CaptionRequest")}},
                "multipart/form-data": {"schema": FORM},
            },
        }
    },
}

CHAT_STREAM = """data: {"id":"chatcmpl-0f8fad5b","object":"chat.completion.chunk","created":1795000000,\
"model":"embedded","request_id":"0f8fad5b","choices":[{"index":0,"delta":{"content":"a red circle"},\
"logprobs":null,"finish_reason":null}]}

data: [DONE]

"""

CHAT: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {
            "description": "The answer; with `stream`, server-sent events, each a `ChatChunk`.",
            "model": ChatCompletion,
            "content": {"text/event-stream": {"schema": EVENT, "example": CHAT_STREAM}},
        }
    }
    | error_responses(*GENERATING, ErrorCode.UNSUPPORTED_PARAMETER, ErrorCode.MODEL_NOT_FOUND),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="ChatRequest")}}},
        }
    },
}
