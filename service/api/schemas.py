"""What goes over the wire, as clients see it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.errors import ErrorCode


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


class CaptionRequest(Generation):
    """A JSON request: an image as base64 or as a path on the server, and how to caption it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"image": "data:image/png;base64,iVBORw0KGgo...", "max_tokens": 64}]},
    )

    image: Annotated[str | None, Field(description="The image file as base64, plain or as a data URL.")] = (
        None
    )
    image_path: Annotated[
        str | None,
        Field(min_length=1, description="A file on the server, below one of its CAPSTAN_IMAGE_ROOTS."),
    ] = None


class Usage(BaseModel):
    """What the request cost; prompt_tokens counts image tokens too."""

    prompt_tokens: int
    image_tiles: int
    completion_tokens: int


class CaptionResponse(BaseModel):
    """A caption."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "caption": "a red circle left of a blue square",
                    "model": "embedded",
                    "usage": {"prompt_tokens": 60, "image_tiles": 5, "completion_tokens": 9},
                    "request_id": "0f8fad5bd9cb469fa16570867728950e",
                }
            ]
        }
    )

    caption: str
    model: str
    usage: Usage
    request_id: str


class ErrorDetail(BaseModel):
    """What went wrong; `code` is one of a closed list and `param` names the field at fault, if one is."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: ErrorCode
    param: str | None = None


class ErrorResponse(BaseModel):
    """An error, in the form that OpenAI's clients understand."""

    error: ErrorDetail
    request_id: str


class Engine(BaseModel):
    """How the replica runs the model."""

    runner: str = Field(description="The way of running the model that its architecture allows.")
    device: str
    dtype: str
    max_concurrent_sequences: int
    context_length: int


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "capstan"
    revision: str | None
    engine: Engine


class ModelList(BaseModel):
    """The models of this server."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
