"""What OpenAPI says of POST /caption, which reads its own body in several forms."""

from typing import Any

from service.api.openapi import REFERENCE
from service.api.reference import EVENT, GENERATING, refusals
from service.api.schemas.caption import CaptionListResponse, CaptionResponse, Generation
from service.errors import ErrorCode

FORM = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "The image file; several are answered as a list.",
        },
        "image_url": {"type": "string", "description": "Instead of a file: an https URL."},
        "image_path": {"type": "string", "description": "Instead of a file: a path on the server."},
        **Generation.model_json_schema()["properties"],
    },
}

STREAM = """event: delta
data: {"text":"a red circle"}

event: delta
data: {"text":" left of a blue square"}

event: caption
data: {"caption":"a red circle left of a blue square","finish_reason":"stop","model":"embedded",\
"usage":{"prompt_tokens":60,"image_tiles":5,"completion_tokens":9},"request_id":"0f8fad5bd9cb469f"}

"""

ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The caption, or a list of captions where a list of images was sent.",
        "model": CaptionResponse | CaptionListResponse,
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "a red circle left of a blue square",
            },
            "text/event-stream": {"schema": EVENT, "example": STREAM},
        },
    }
}

CAPTION_REFERENCE: dict[str, Any] = {
    "response_model": None,
    "responses": ANSWER
    | refusals(
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
