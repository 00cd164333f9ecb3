"""The FastAPI application of a replica."""

from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

import service
from service.api.auth.middleware import Authenticator, AuthMiddleware
from service.api.auth.rate_limiter import HEADERS as RATE_LIMIT_HEADERS
from service.api.backend import Backend
from service.api.bodies.validation import validation_error
from service.api.errors import UnhandledErrorMiddleware, render
from service.api.middleware.body_limit import BodyLimitMiddleware
from service.api.middleware.request_log import HEADER, RequestLogMiddleware
from service.api.openapi.document import openapi_document
from service.api.routes import caption, chat, health, metrics, models, pages
from service.errors import ErrorCode, RequestError

ROUTERS = (caption.router, chat.router, models.router, health.router, metrics.router, pages.router)


def create_application(
    backend: Backend, *, authenticator: Authenticator | None = None, id_header: bool = True
) -> FastAPI:
    """Build the application for an engine that is ready.

    Without `authenticator`, the settings decide which keys are known. `id_header` is False where the server
    in front sets `X-Request-ID` itself.
    """
    # FastAPI's own pages at /docs and /redoc load their code from another host.
    app = FastAPI(title="Capstan", version=service.__version__, docs_url=None, redoc_url=None)
    app.openapi = partial(openapi_document, app)  # type: ignore[method-assign]  # FastAPI's documented way
    app.state.backend = backend
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    settings = backend.settings
    # Uploads stay in memory, whose bound is that of all bodies: on a full disk they must not fail.
    MultiPartParser.spool_max_size = settings.max_total_request_bytes
    # The last one added is the first to see a request.
    app.add_middleware(
        BodyLimitMiddleware,
        limit=settings.max_request_bytes,
        total=settings.max_total_request_bytes,
        seconds=settings.body_timeout,
    )
    app.add_middleware(pages.PrefixRedirectMiddleware)
    app.add_middleware(UnhandledErrorMiddleware)
    app.add_middleware(AuthMiddleware, authenticator=authenticator or Authenticator.from_settings(settings))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", HEADER],
            expose_headers=[HEADER, "retry-after", *RATE_LIMIT_HEADERS],
        )
    app.add_middleware(
        RequestLogMiddleware,
        model=settings.public_name,
        id_header=id_header,
        telemetry=backend.telemetry,
    )
    return app


def add_error_handlers(app: FastAPI) -> None:
    """Render every exception that leaves a route and is not a bug."""

    async def on_request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)  # noqa: S101 - registered for this class alone
        return render(request.scope, error)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return render(request.scope, validation_error(error))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        response = render(request.scope, _request_error(error))
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(RequestError, on_request_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)


def _request_error(error: HTTPException) -> RequestError:
    """The public form of an error of Starlette: unknown route, wrong method, malformed multipart body."""
    if error.status_code == 404:
        return RequestError(ErrorCode.NOT_FOUND, "route does not exist; see /docs for the list")
    if error.status_code == 405:
        return RequestError(ErrorCode.METHOD_NOT_ALLOWED, "route does not accept this method; see /docs")
    return RequestError(ErrorCode.INVALID_REQUEST, str(error.detail))
