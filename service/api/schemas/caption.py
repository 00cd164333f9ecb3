"""POST /caption over the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from service.api.schemas.errors import ErrorDetail
from service.api.schemas.images import EXAMPLE_IMAGE, ImageField, ImageSource, PathField, UrlField
from service.protocol.request import Usage as EngineUsage


def _parsed(schema: object) -> object:
    """A form has texts alone."""
    return from_json(schema) if isinstance(schema, str) else schema


class SamplingParams(BaseModel):
    """How to generate the text; a field left out takes the server's default."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[
        str | None,
        Field(
            min_length=1,
            description="What to ask about the image. Default: the server's, for a detailed caption.",
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Most tokens of the caption. Default: the server's, 1024 unless configured.",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=2.0,
            description="0 always picks the most likely token. Default: the server's, 0 unless configured.",
        ),
    ] = None
    json_schema: Annotated[
        Annotated[dict[str, Any], BeforeValidator(_parsed)] | None,
        Field(alias="schema", description="A JSON schema: the caption is JSON that matches it."),
    ] = None
    stream: Annotated[
        bool, Field(description="Send the caption as server-sent events while it is generated.")
    ] = False


class Usage(BaseModel):
    """What a request used. `prompt_tokens` includes image tokens."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt_tokens": 60, "image_tiles": 5, "completion_tokens": 9}]}
    )

    prompt_tokens: int
    image_tiles: int
    completion_tokens: int

    @classmethod
    def of(cls, usage: EngineUsage) -> "Usage":
        """Convert the engine's count."""
        return cls(
            prompt_tokens=usage.prompt_tokens,
            image_tiles=usage.image_tiles,
            completion_tokens=usage.completion_tokens,
        )


class CaptionRequest(SamplingParams):
    """A JSON request: one image, a list of images or the frames of a video, and how to caption them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image": EXAMPLE_IMAGE, "max_tokens": 64},
                {"image_url": "https://example.com/cat.jpg", "prompt": "What is in the picture?"},
                {"images": [{"image": EXAMPLE_IMAGE}, {"image_url": "https://example.com/cat.jpg"}]},
            ],
        },
    )

    image: ImageField = None
    image_url: UrlField = None
    image_path: PathField = None
    images: Annotated[
        list[ImageSource] | None,
        Field(
            min_length=1,
            description="Several images, each captioned on its own; the captions come in the same order.",
        ),
    ] = None
    frames: Annotated[
        list[ImageSource] | None,
        Field(min_length=1, description="The frames of a video in their order; they get one caption."),
    ] = None


class CaptionResponse(BaseModel):
    """A caption."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "caption": "a red circle left of a blue square",
                    "finish_reason": "stop",
                    "model": "embedded",
                    "usage": {"prompt_tokens": 60, "image_tiles": 5, "completion_tokens": 9},
                    "request_id": "0f8fad5bd9cb469fa16570867728950e",
                }
            ]
        }
    )

    caption: str
    finish_reason: Annotated[
        Literal["stop", "length"], Field(description="`length`: the caption was cut at max_tokens.")
    ]
    model: str
    usage: Usage
    request_id: str


class CaptionDelta(BaseModel):
    """The next piece of a streamed caption."""

    text: str


class CaptionItem(BaseModel):
    """The caption of one image of a list, or the error: exactly one of `caption` and `error`."""

    caption: str | None = None
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None
    error: ErrorDetail | None = None


class CaptionListResponse(BaseModel):
    """The captions of a list of images, in the order of the list."""

    captions: list[CaptionItem]
    model: str
    usage: Annotated[Usage, Field(description="The total for all images.")]
    request_id: str
