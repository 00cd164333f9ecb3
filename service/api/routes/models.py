"""GET /v1/models and GET /v1/tiles: which model is served, and how it cuts images."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.api.backend import Backend, backend_of
from service.api.openapi.operations import KEYED, error_responses
from service.api.schemas.models import Engine, ImageCut, ModelCard, ModelList, TilesResponse
from service.errors import ErrorCode, RequestError
from service.media.tiles import grid, tile_count

router = APIRouter(tags=["models"])

MAX_SIDE = 1_000_000

Side = Annotated[int, Query(ge=1, le=MAX_SIDE, description="In pixels, after EXIF rotation.")]


@router.get("/v1/models", responses=error_responses(*KEYED))
async def list_models(request: Request) -> ModelList:
    """List the models of this server."""
    return ModelList(data=[_card(backend_of(request))])


@router.get("/v1/models/{name:path}", responses=error_responses(*KEYED, ErrorCode.MODEL_NOT_FOUND))
async def get_model(request: Request, name: str) -> ModelCard:
    """Describe one model."""
    card = _card(backend_of(request))
    if name != card.id:
        raise RequestError(
            ErrorCode.MODEL_NOT_FOUND, f"model does not exist; this server has {card.id}", field="model"
        )
    return card


@router.get("/v1/tiles", responses=error_responses(*KEYED, ErrorCode.INVALID_REQUEST))
async def tiles(request: Request, width: Side, height: Side) -> TilesResponse:
    """Say into how many tiles the model cuts an image of this size, and how many tokens they are."""
    tiling = backend_of(request).engine.describe().tiling
    if tiling is None:
        return TilesResponse(cut=None)
    spec = tiling.spec
    columns, rows = grid(width, height, size=spec.size, max_tiles=spec.max_tiles, min_tiles=spec.min_tiles)
    count = tile_count(width, height, spec)
    return TilesResponse(
        cut=ImageCut(
            columns=columns,
            rows=rows,
            thumbnail=count > columns * rows,
            tile_size=spec.size,
            tiles=count,
            tokens=count * tiling.tokens_per_tile,
        )
    )


def _card(backend: Backend) -> ModelCard:
    engine = backend.engine.describe()
    return ModelCard(
        id=backend.settings.public_name,
        created=backend.started,
        revision=backend.settings.model_revision,
        adapter=backend.settings.adapter,
        adapter_revision=backend.settings.adapter_revision,
        engine=Engine(
            kind=engine.kind,
            runner=engine.runner,
            device=engine.device,
            dtype=engine.dtype,
            quantization=backend.settings.quantization,
            max_concurrent_sequences=engine.slots,
            context_length=engine.context_length,
            startup_seconds=dict(engine.startup_seconds),
        ),
    )
