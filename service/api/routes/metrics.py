"""GET /metrics: this replica's metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.backend import backend_of
from service.api.openapi.operations import METRICS
from service.errors import ErrorCode, RequestError
from service.metrics.record import FORWARDED

router = APIRouter(tags=["health"])


@router.get("/metrics", **METRICS)
async def metrics(request: Request) -> Response:
    """Report the metrics of this replica in Prometheus' text format.

    Needs no key. Does not exist for a request that an Ingress or a Gateway has forwarded, unless
    `CAPSTAN_METRICS_PUBLIC` is set.
    """
    backend = backend_of(request)
    if not backend.settings.metrics_public and any(name in request.headers for name in FORWARDED):
        raise RequestError(ErrorCode.NOT_FOUND, "route does not exist; see /docs for the list")
    return Response(backend.telemetry.metrics.text(), media_type=CONTENT_TYPE_LATEST)
