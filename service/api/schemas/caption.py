"""POST /caption over the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.schemas.errors import ErrorDetail
from service.api.schemas.example import IMAGE
from service.api.schemas.usage import Usage

SOURCES = ("image", "image_url", "image_path")

ImageField = Annotated[
    str | None,
    Field(
        min_length=1,
        description="The image file as base64, plain or as a data URL (`data:image/...;base64,`).",
    ),
]
UrlField = Annotated[
    str | None,
    Field(min_length=1, max_length=8192, description="An https URL that the server fetches the image from."),
]
PathField = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=8192,
        description="A file on the server, below one of its CAPSTAN_IMAGE_ROOTS.",
    ),
]


class Generation(BaseModel):
    """The fields of a request that say how to generate; a field left out takes the server's default."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[
        str | None,
        Field(min_length=1, description="What to say about the image. Default: a detailed caption."),
    ] = None
    max_tokens: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Tokens of the answer at most. Default: 1024.")
    ] = None
    temperature: Annotated[
        float | None, Field(ge=0.0, le=2.0, description="0, the default, always takes the likeliest token.")
    ] = None
    stream: Annotated[
        bool, Field(description="Send the caption as server-sent events while it is generated.")
    ] = False


class ImageSource(BaseModel):
    """One image of a list: exactly one of the three says where it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    image: ImageField = None
    image_url: UrlField = None
    image_path: PathField = None

    @model_validator(mode="after")
    def _one_source(self) -> "ImageSource":
        if sum(getattr(self, name) is not None for name in SOURCES) != 1:
            raise ValueError(f"exactly one of {', '.join(SOURCES)} is needed")
        return self


class CaptionRequest(Generation):
    """A JSON request: one image, or a list of them, and how to caption it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image": IMAGE, "max_tokens": 64},
                {"image_url": "https://example.com/cat.jpg", "prompt": "What is in the picture?"},
                {"images": [{"image": IMAGE}, {"image_url": "https://example.com/cat.jpg"}]},
            ],
        },
    )

    image: ImageField = None
    image_url: UrlField = None
    image_path: PathField = None
    images: Annotated[
        list[ImageSource] | None,
        Field(min_length=1, description="Several images, each captioned by itself; answered in order."),
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
    """New text of a streamed caption."""

    text: str


class CaptionItem(BaseModel):
    """The caption of one image of a list, or why there is none: exactly one of `caption` and `error`."""

    caption: str | None = None
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None
    error: ErrorDetail | None = None


class CaptionListResponse(BaseModel):
    """The captions of a list of images, in its order."""

    captions: list[CaptionItem]
    model: str
    usage: Annotated[Usage, Field(description="What the images cost together.")]
    request_id: str
