"""The content of a chat message: texts, images and videos."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.settings import MOST_FRAMES

STRICT = ConfigDict(extra="forbid")


class ImageUrl(BaseModel):
    """The location of an image."""

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
        Field(description="`low`: one tile. Otherwise the model's own tiling."),
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


class VideoUrl(BaseModel):
    """The frames of a video."""

    model_config = STRICT

    url: Annotated[
        str,
        Field(
            min_length=1,
            description="`data:video/jpeg;base64,`, then the frames' base64, separated by commas.",
        ),
    ]


class VideoUrlPart(BaseModel):
    """A video as its frames in one data URL, as vLLM takes it."""

    model_config = STRICT

    type: Literal["video_url"]
    video_url: VideoUrl


class VideoPart(BaseModel):
    """A video as a list of its frames, as Qwen's API takes it."""

    model_config = STRICT

    type: Literal["video"]
    video: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(
            min_length=1,
            max_length=MOST_FRAMES,
            description="Data URLs, or https URLs that the server fetches, of the frames in their order.",
        ),
    ]


UserContent = (
    str
    | Annotated[
        list[Annotated[TextPart | ImagePart | VideoPart | VideoUrlPart, Field(discriminator="type")]],
        Field(min_length=1, title="Parts"),
    ]
)
TextContent = str | Annotated[list[TextPart], Field(min_length=1, title="Texts")]
