"""GET /v1/tiles: how an image of some size is cut, and what it costs, before it is sent."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.backend import backend_of
from service.api.reference import KEYED, refusals
from service.errors import ErrorCode
from service.media.tiles import grid, tile_count

router = APIRouter(tags=["models"])

LONGEST_SIDE = 1_000_000

Side = Annotated[int, Query(ge=1, le=LONGEST_SIDE, description="In pixels, of the upright image.")]


class Cut(BaseModel):
    """`columns` x `rows` tiles of `tile_size` pixels a side; a `thumbnail` is one more of the whole image."""

    columns: int
    rows: int
    thumbnail: bool
    tile_size: int
    tiles: int = Field(description="All of them, the thumbnail included.")
    tokens: int = Field(description="What they take of the prompt.")


class TilesResponse(BaseModel):
    """The cut of an image; null where the model's own processor takes images in another way."""

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

    cut: Cut | None


@router.get("/v1/tiles", responses=refusals(*KEYED, ErrorCode.INVALID_REQUEST))
async def tiles(request: Request, width: Side, height: Side) -> TilesResponse:
    """How the model cuts an image of this size into tiles, and the tokens that they take."""
    tiling = backend_of(request).engine.tiling()
    if tiling is None:
        return TilesResponse(cut=None)
    spec = tiling.spec
    columns, rows = grid(width, height, size=spec.size, max_tiles=spec.max_tiles, min_tiles=spec.min_tiles)
    count = tile_count(width, height, spec)
    return TilesResponse(
        cut=Cut(
            columns=columns,
            rows=rows,
            thumbnail=count > columns * rows,
            tile_size=spec.size,
            tiles=count,
            tokens=count * tiling.tokens_per_tile,
        )
    )
