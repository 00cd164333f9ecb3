"""The FastAPI application of a replica."""

from functools import partial

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import service
from service.api import caption, chat, health, models, tiles
from service.api.access.headers import EXPOSED
from service.api.access.middleware import Access, AccessMiddleware
from service.api.backend import Backend
from service.api.body_limit import BodyLimitMiddleware
from service.api.faults import FaultMiddleware
from service.api.nosniff import NoSniffMiddleware
from service.api.openapi import describe
from service.api.page import routes as page
from service.api.page.slash import SlashMiddleware
from service.api.rendering import add_error_handlers
from service.api.request_id import HEADER, RequestIdMiddleware


def create_application(
    backend: Backend, *, access: Access | None = None, request_id_header: bool = True
) -> FastAPI:
    """Build the application over an engine that is ready.

    Without `access`, the keys file of the settings says who may use it.
    `request_id_header` is False where the server around it writes `X-Request-ID` itself.
    """
    # FastAPI's own pages under /docs and /redoc load their code from another host.
    app = FastAPI(title="Capstan", version=service.__version__, docs_url=None, redoc_url=None)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # FastAPI's documented way
    app.state.backend = backend
    settings = backend.settings
    for router in (caption.router, chat.router, models.router, tiles.router, health.router, page.router):
        app.include_router(router)
    add_error_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimitMiddleware, limit=settings.max_request_bytes, seconds=settings.body_timeout)
    app.add_middleware(SlashMiddleware)
    app.add_middleware(FaultMiddleware)
    app.add_middleware(AccessMiddleware, access=access or Access.of(settings))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", HEADER],
            expose_headers=[HEADER, "retry-after", *EXPOSED],
        )
    app.add_middleware(NoSniffMiddleware)
    app.add_middleware(RequestIdMiddleware, header=request_id_header)
    return app
