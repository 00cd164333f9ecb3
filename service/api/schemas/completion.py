"""The response of POST /v1/chat/completions.

Source: OpenAI's API reference, "The chat completion object" and "The chat completion chunk object".
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.tools import ToolCall
from service.protocol.request import SpelledLogprobs

EndReason = Literal["stop", "length", "tool_calls"]


def _missing(value: object) -> bool:
    return value is None


class ChatUsage(BaseModel):
    """What a request used. `prompt_tokens` includes image tokens; `image_tiles` is our extension.

    Several answers to one prompt count it once.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    image_tiles: int


class AnswerMessage(BaseModel):
    """The model's answer.

    `content` is null if there is nothing besides tool calls or reasoning. The fields of those are left out
    where there are none.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: Annotated[str | None, Field(exclude_if=_missing)] = None
    tool_calls: Annotated[list[ToolCall] | None, Field(exclude_if=_missing)] = None
    refusal: None = None


class TopLogprob(BaseModel):
    """A token, and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer, with the likeliest ones at its place."""

    top_logprobs: list[TopLogprob]

    @classmethod
    def of(cls, found: SpelledLogprobs) -> "TokenLogprob":
        """Convert the engine's."""
        top = [
            TopLogprob(token=token.decode(errors="replace"), logprob=logprob, bytes=list(token))
            for token, logprob in found.top
        ]
        token = found.token.decode(errors="replace")
        return cls(token=token, logprob=found.logprob, bytes=list(found.token), top_logprobs=top)


class ChoiceLogprobs(BaseModel):
    """How likely the tokens of the answer were, before temperature and penalties."""

    content: list[TokenLogprob]
    refusal: None = None

    @classmethod
    def of(cls, found: Iterable[SpelledLogprobs]) -> "ChoiceLogprobs":
        """Convert the engine's."""
        return cls(content=list(map(TokenLogprob.of, found)))


class Choice(BaseModel):
    """One of the answers."""

    index: int = 0
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: EndReason


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


class DeltaToolCall(ToolCall):
    """A whole tool call, the `index`th of an answer."""

    index: int


class Delta(BaseModel):
    """The next piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaToolCall] | None = None


class ChunkChoice(BaseModel):
    """The next piece of one of the answers."""

    index: int = 0
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: EndReason | None = None


class ChatChunk(BaseModel):
    """A chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    request_id: str
