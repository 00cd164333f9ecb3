"""What OpenAPI says of POST /v1/chat/completions, which reads its own body."""

from typing import Any

from service.api.openapi import REFERENCE
from service.api.reference import EVENT, GENERATING, refusals
from service.api.schemas.chat import ChatCompletion
from service.errors import ErrorCode

STREAM = """data: {"id":"chatcmpl-0f8fad5b","object":"chat.completion.chunk","created":1795000000,\
"model":"embedded","request_id":"0f8fad5b","choices":[{"index":0,"delta":{"content":"a red circle"},\
"logprobs":null,"finish_reason":null}]}

data: [DONE]

"""

CHAT_REFERENCE: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {
            "description": "The answer; as server-sent events, each a `ChatChunk`, where `stream` is set.",
            "model": ChatCompletion,
            "content": {"text/event-stream": {"schema": EVENT, "example": STREAM}},
        }
    }
    | refusals(*GENERATING, ErrorCode.UNSUPPORTED_PARAMETER, ErrorCode.NOT_FOUND),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="ChatRequest")}}},
        }
    },
}
