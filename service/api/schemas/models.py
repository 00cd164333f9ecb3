"""The models of a server, and its health."""

from typing import Literal

from pydantic import BaseModel, Field


class Engine(BaseModel):
    """How the replica runs the model."""

    runner: str = Field(
        description="The way of running the model that its architecture allows.", examples=["direct"]
    )
    device: str = Field(examples=["cuda"])
    dtype: str = Field(examples=["bfloat16"])
    max_concurrent_sequences: int = Field(examples=[64])
    context_length: int = Field(description="Tokens of prompt and answer together.", examples=[8192])


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str = Field(examples=["embedded"])
    object: Literal["model"] = "model"
    created: int = Field(
        description="When this replica loaded it, in Unix seconds.", examples=[1_795_000_000]
    )
    owned_by: str = "capstan"
    revision: str | None = Field(description="The branch, tag or commit that was asked for.", examples=[None])
    engine: Engine


class ModelList(BaseModel):
    """The models of this server."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
