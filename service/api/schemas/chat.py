"""POST /v1/chat/completions over the wire, as far as this server goes along with OpenAI's API.

Source: OpenAI's API reference, "Create chat completion". Parameters of it that are not here are refused by
name, never ignored; see `service.api.chat_parameters`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.schemas.example import IMAGE

STRICT = ConfigDict(extra="forbid")


class ImageUrl(BaseModel):
    """Where an image is."""

    model_config = STRICT

    url: Annotated[
        str,
        Field(
            min_length=1,
            description="A data URL (`data:image/...;base64,`), or an https URL that the server fetches.",
        ),
    ]
    detail: Annotated[
        Literal["auto", "low", "high"],
        Field(
            description="`low`: the image is one tile. Otherwise the model's own tiling. One for all images."
        ),
    ] = "auto"


class TextPart(BaseModel):
    """A piece of text."""

    model_config = STRICT

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """An image."""

    model_config = STRICT

    type: Literal["image_url"]
    image_url: ImageUrl


UserContent = (
    str
    | Annotated[
        list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
        Field(min_length=1, title="Parts"),
    ]
)
TextContent = str | Annotated[list[TextPart], Field(min_length=1, title="Texts")]


def _without_nulls(values: Any) -> Any:  # noqa: ANN401 - whatever the body holds
    """An answer of the official client, sent back as history, carries nulls for what it does not have."""
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if value is not None}
    return values


class Message(BaseModel):
    """What all messages have in common."""

    model_config = STRICT

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:  # noqa: ANN401 - as above
        return _without_nulls(values)


class SystemMessage(Message):
    """What the model is told before the conversation; `developer` is the newer name of the role."""

    role: Literal["system", "developer"]
    content: TextContent


class UserMessage(Message):
    """What the user says, with images."""

    role: Literal["user"]
    content: UserContent


class AssistantMessage(Message):
    """What the model answered earlier."""

    role: Literal["assistant"]
    content: TextContent


AnyMessage = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(BaseModel):
    """How to stream."""

    model_config = STRICT

    include_usage: Annotated[
        bool, Field(description="Send a last chunk, without choices, that carries `usage`.")
    ] = False


class ChatRequest(BaseModel):
    """A conversation to be continued. `top_k` and `repetition_penalty` are this server's own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model": "embedded",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": IMAGE}},
                                {"type": "text", "text": "What is in the picture?"},
                            ],
                        }
                    ],
                    "max_completion_tokens": 64,
                }
            ]
        },
    )

    messages: Annotated[list[AnyMessage], Field(min_length=1)]
    model: Annotated[
        str | None, Field(description="A name of GET /v1/models. Default: the model of this route.")
    ] = None
    max_completion_tokens: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Tokens of the answer at most. Default: the server's."),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="The older name of max_completion_tokens; give one of them."),
    ] = None
    temperature: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=2.0,
            description="0 always takes the likeliest token. Default: the server's, which is 0.",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Field(
            gt=0.0,
            le=1.0,
            description="Sample from the likeliest tokens that together reach this probability.",
        ),
    ] = None
    top_k: Annotated[
        int | None, Field(ge=0, le=1_000_000, description="Sample from this many tokens; 0 is all.")
    ] = None
    seed: Annotated[
        int | None,
        Field(
            ge=-(2**63), lt=2**63, description="The same seed gives the same text, whatever else is running."
        ),
    ] = None
    stop: Annotated[
        Annotated[str, Field(min_length=1, max_length=256)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16, title="Stops")
        ]
        | None,
        Field(description="The answer ends before any of these strings."),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Field(gt=0.0, le=10.0, description="Above 1, tokens that are there already become less likely."),
    ] = None
    n: Annotated[Literal[1] | None, Field(description="One answer a request.")] = 1
    stream: Annotated[bool | None, Field(description="Send the answer as server-sent events.")] = False
    stream_options: StreamOptions | None = None


class ChatUsage(BaseModel):
    """What the request cost; prompt_tokens counts image tokens too. `image_tiles` is this server's own."""

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
    """The one answer."""

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
    """What is new in an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """The one answer, as far as this chunk knows it."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(BaseModel):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    request_id: str
