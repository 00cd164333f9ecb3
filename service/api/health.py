"""GET /healthz and GET /readyz, for whoever watches the process."""

from fastapi import APIRouter, Request

from service.api.backend import backend_of
from service.api.reference import refusals
from service.api.schemas.models import Health
from service.errors import EngineStopped, ErrorCode, RequestError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """The process is up."""
    return Health()


@router.get("/readyz", responses=refusals(ErrorCode.NOT_READY))
async def readyz(request: Request) -> Health:
    """The model is loaded and its engine takes requests."""
    try:
        backend_of(request).engine.check()
    except EngineStopped as error:
        raise RequestError(
            ErrorCode.NOT_READY, "the engine has stopped; this replica will be replaced"
        ) from error
    return Health()
