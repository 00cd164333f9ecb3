"""GET /healthz and GET /readyz, for probes."""

from fastapi import APIRouter, Request

from service.api.backend import backend_of
from service.api.openapi.operations import error_responses
from service.api.schemas.models import Health
from service.errors import EngineStopped, ErrorCode, RequestError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """Answer while the process is up."""
    return Health()


@router.get("/readyz", responses=error_responses(ErrorCode.NOT_READY))
async def readyz(request: Request) -> Health:
    """Answer 200 while the model is loaded and its engine accepts requests."""
    try:
        backend_of(request).engine.check()
    except EngineStopped as error:
        raise RequestError(ErrorCode.NOT_READY, "engine has stopped; Serve replaces this replica") from error
    return Health()
