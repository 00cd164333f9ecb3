"""The served model, how it cuts images, and the health of the server, over the wire."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Engine(BaseModel):
    """How the replica runs the model."""

    kind: Literal["native", "command", "url"] = Field(
        description="Our own engine, or another server: a child of the replica, or one that runs elsewhere.",
        examples=["native"],
    )
    runner: str = Field(
        description="The way of running the model that its architecture allows, or whose server it is.",
        examples=["fused"],
    )
    device: str | None = Field(description="Null if another server runs the model.", examples=["cuda"])
    dtype: str | None = Field(description="Null if another server runs the model.", examples=["bfloat16"])
    quantization: Literal["int8", "fp8"] | None = Field(
        description="Format of the linear layers; null if it is `dtype`.", examples=[None]
    )
    max_concurrent_sequences: int = Field(examples=[64])
    context_length: int | None = Field(
        description="Most tokens of prompt and answer together; null if another server does not say.",
        examples=[8192],
    )
    startup_seconds: dict[str, float] = Field(
        description="Seconds of each phase of the replica's start; skipped phases are absent.",
        examples=[{"download": 0.0, "read": 14.2, "place": 1.3, "profile": 2.1, "capture": 6.0}],
    )


class ModelCard(BaseModel):
    """A model that requests can name."""

    id: str = Field(examples=["embedded"])
    object: Literal["model"] = "model"
    created: int = Field(
        description="When this replica loaded it, in Unix seconds.", examples=[1_795_000_000]
    )
    owned_by: str = "capstan"
    revision: str | None = Field(
        description="The branch, tag or commit in the settings; null if none is set.", examples=[None]
    )
    adapter: str | None = Field(
        description="The LoRA adapter that is merged into the weights; null without one.", examples=[None]
    )
    adapter_revision: str | None = Field(
        description="The branch, tag or commit of the adapter; null if none is set.", examples=[None]
    )
    engine: Engine


class ModelList(BaseModel):
    """The models of this server."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ImageCut(BaseModel):
    """`columns` x `rows` tiles of `tile_size` pixels a side, and perhaps a `thumbnail` of the whole image."""

    columns: int
    rows: int
    thumbnail: bool
    tile_size: int
    tiles: int = Field(description="The number of tiles, including the thumbnail.")
    tokens: int = Field(description="The number of prompt tokens that the tiles take.")


class TilesResponse(BaseModel):
    """How an image is cut; null if the model's own processor handles images differently."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cut": {
                        "columns": 4,
                        "rows": 3,
                        "thumbnail": True,
                        "tile_size": 448,
                        "tiles": 13,
                        "tokens": 3328,
                    }
                }
            ]
        }
    )

    cut: ImageCut | None


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
