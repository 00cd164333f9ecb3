"""The ASGI application of the router."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict

import aiohttp
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth.middleware import Authenticator
from service.api.auth.rate_limiter import HEADERS as RATE_LIMIT_HEADERS
from service.api.errors import UnhandledErrorMiddleware, render
from service.api.middleware.body_limit import BodyLimitMiddleware
from service.api.middleware.request_log import HEADER
from service.errors import ErrorCode, RequestError
from service.metrics.record import FORWARDED
from service.router.forward import Forwarder
from service.router.keys import KeyMiddleware
from service.router.metrics import RouterMetrics
from service.router.models import Models
from service.router.request_log import RoutedLogMiddleware
from service.settings import Settings

# That of Serve's proxy, so that a load balancer checks both in the same way.
HEALTH = "/-/healthz"
METRICS = "/metrics"
CONNECT_SECONDS = 5.0


class State(TypedDict):
    """What requests share."""

    session: aiohttp.ClientSession


class ProbeMiddleware:
    """Answers health checks and scrapes, which need no key and are not logged.

    An Ingress or a Gateway forwards no scrape: metrics name models and how much they are used.
    """

    def __init__(self, app: ASGIApp, *, metrics: RouterMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == HEALTH:
            await PlainTextResponse("success")(scope, receive, send)
        elif path == METRICS and not any(name in Headers(scope=scope) for name in FORWARDED):
            response = Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def create_router(addresses: Mapping[str, str], settings: Settings, *, seconds: float) -> Starlette:
    """Build the router for models at these addresses, by name.

    A model may take `seconds` for each piece of its answer. Raises StartupError if the keys file is
    missing or invalid.
    """
    models, metrics = Models(addresses), RouterMetrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:  # noqa: ARG001 - as Starlette calls it
        async with _session(seconds) as session:
            yield {"session": session}

    async def list_models(request: Request) -> Response:  # noqa: ARG001 - as above
        return JSONResponse({"object": "list", "data": [models.card(name) for name in models.addresses]})

    async def get_model(request: Request) -> Response:
        return JSONResponse(models.card(models.resolve(request.path_params["name"])))

    return Starlette(
        routes=[
            Route("/v1/models", list_models),
            Route("/v1/models/{name:path}", get_model),
            Route("/v1/{path:path}", Forwarder(models, metrics), methods=["GET", "POST"]),
        ],
        middleware=_middleware(settings, metrics),
        exception_handlers={RequestError: _on_request_error, HTTPException: _on_http_error},
        lifespan=lifespan,
    )


def _session(seconds: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # One connection for each request, so that a Service spreads requests, not routers, over its pods, and
        # a Service that moves to another cluster takes effect at once.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=seconds),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
    )


def _middleware(settings: Settings, metrics: RouterMetrics) -> list[Middleware]:
    """The first one is the first to see a request."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", HEADER],
        expose_headers=[HEADER, "retry-after", *RATE_LIMIT_HEADERS],
    )
    limits = Middleware(
        BodyLimitMiddleware,
        limit=settings.max_request_bytes,
        total=settings.max_total_request_bytes,
        seconds=settings.body_timeout,
    )
    return [
        Middleware(ProbeMiddleware, metrics=metrics),
        Middleware(RoutedLogMiddleware, metrics=metrics),
        *([cors] if settings.cors_origins else []),
        Middleware(UnhandledErrorMiddleware),
        Middleware(KeyMiddleware, authenticator=Authenticator.from_settings(settings)),
        limits,
    ]


async def _on_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - registered for this class alone
    return render(request.scope, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    code = ErrorCode.METHOD_NOT_ALLOWED if error.status_code == 405 else ErrorCode.NOT_FOUND
    response = render(request.scope, RequestError(code, f"this address serves /v1 and {HEALTH} alone"))
    response.headers.update(error.headers or {})
    return response
