"""GET /v1/models: which model is served, and how."""

from fastapi import APIRouter, Request

from service.api.backend import Backend, backend_of
from service.api.reference import KEYED, refusals
from service.api.schemas.models import Engine, ModelCard, ModelList
from service.errors import ErrorCode, RequestError

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=refusals(*KEYED))
async def list_models(request: Request) -> ModelList:
    """The models of this server."""
    return ModelList(data=[_card(backend_of(request))])


@router.get("/v1/models/{name:path}", responses=refusals(*KEYED, ErrorCode.NOT_FOUND))
async def get_model(request: Request, name: str) -> ModelCard:
    """One model of this server."""
    card = _card(backend_of(request))
    if name != card.id:
        raise RequestError(
            ErrorCode.NOT_FOUND, f"there is no such model; this server has {card.id}", field="model"
        )
    return card


def _card(backend: Backend) -> ModelCard:
    engine = backend.engine.describe()
    return ModelCard(
        id=backend.settings.public_name,
        created=backend.started,
        revision=backend.settings.model_revision,
        engine=Engine(
            runner=engine.runner,
            device=engine.device,
            dtype=engine.dtype,
            max_concurrent_sequences=engine.slots,
            context_length=engine.context_length,
        ),
    )
