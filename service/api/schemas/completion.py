"""The response of POST /v1/chat/completions.

Source: OpenAI's API reference, "The chat completion object" and "The chat completion chunk object".
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ChatUsage(BaseModel):
    """What a request used. `prompt_tokens` includes image tokens; `image_tiles` is our extension."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    image_tiles: int


class AnswerMessage(BaseModel):
    """The model's answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The only answer."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """A finished answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "chatcmpl-0f8fad5bd9cb469fa16570867728950e",
                    "object": "chat.completion",
                    "created": 1_795_000_000,
                    "model": "embedded",
                    "choices": [
                        {
                            "index": 0,
                            "message": {
                                "role": "assistant",
                                "content": "a red circle left of a blue square",
                                "refusal": None,
                            },
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {
                        "prompt_tokens": 60,
                        "completion_tokens": 9,
                        "total_tokens": 69,
                        "image_tiles": 5,
                    },
                    "request_id": "0f8fad5bd9cb469fa16570867728950e",
                }
            ]
        }
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    request_id: str


class Delta(BaseModel):
    """The next piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """The only answer, as far as it is known in this chunk."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(BaseModel):
    """A chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    request_id: str
