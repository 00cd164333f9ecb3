"""Lets no request pass without a known key, or with a key that has reached its limits."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth.keys import ApiKey, ApiKeys
from service.api.auth.keys_file import KeysFile
from service.api.auth.rate_limiter import RateLimiter, RateLimiters
from service.api.errors import render
from service.api.request_state import state_of
from service.errors import ErrorCode, RequestError
from service.settings import Settings

logger = logging.getLogger("capstan.access")

# These reveal nothing and cost nothing. Every other path needs a key, even one that does not exist.
OPEN = frozenset(
    ("", "/", "/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json", "/favicon.ico")
)
OPEN_BELOW = ("/docs/", "/static/")

STATE = "grant"


@dataclass(frozen=True, slots=True)
class Grant:
    """The key of an admitted request, as it was when the request came in, and its limiter."""

    key: ApiKey
    limiter: RateLimiter


@dataclass(frozen=True)
class Authenticator:
    """The keys that are known (None: no key is needed) and the limiter of each."""

    keys: KeysFile | None
    limiters: RateLimiters = field(default_factory=RateLimiters)

    @classmethod
    def from_settings(cls, settings: Settings, *, replicas: Callable[[], int] = lambda: 1) -> Self:
        """As configured; `replicas` counts those that share the limits where no setting says so.

        Raises StartupError if the keys file is missing or invalid.
        """
        shared_by = settings.limits_shared_by
        limiters = RateLimiters(replicas=replicas if shared_by is None else lambda: shared_by)
        if settings.keys_file is None:
            logger.warning("CAPSTAN_KEYS_FILE is not set: anyone who reaches this server can use it")
            return cls(None, limiters)
        return cls(KeysFile(settings.keys_file), limiters)

    def grant(self, headers: Headers, keys: ApiKeys) -> Grant:
        """Find the key in a request's headers. Raises RequestError with `invalid_api_key`."""
        given = headers.getlist("authorization")
        scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not secret.strip():
            raise RequestError(
                ErrorCode.INVALID_API_KEY,
                "request has no API key; send it as Authorization: Bearer KEY",
            )
        key = keys.find(secret.strip())
        if key is None:
            raise RequestError(
                ErrorCode.INVALID_API_KEY, "API key is unknown to this server: mistyped or revoked"
            )
        return Grant(key, self.limiters.of(key))


class AuthMiddleware:
    """Checks the key before the body is read, and counts the request as running until its response ends."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        keys = self.authenticator.keys
        if scope["type"] != "http" or keys is None or _is_open(scope):
            await self.app(scope, receive, send)
            return
        try:
            grant = self.authenticator.grant(Headers(scope=scope), await keys.current())
        except RequestError as error:
            await render(scope, error)(scope, receive, send)
            return
        scope["state"][STATE] = grant
        state_of(scope).key_name = grant.key.name
        await self._serve(grant.limiter, scope, receive, send)

    async def _serve(self, limiter: RateLimiter, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(dict(limiter.headers()))
            await send(message)

        try:
            limiter.acquire()
        except RequestError as error:
            await render(scope, error)(scope, receive, send_with_limits)
            return
        try:
            await self.app(scope, receive, send_with_limits)
        finally:
            limiter.release()


def charge(request: Request, *, images: int, model: str, answers: int = 1) -> None:
    """Count what a request asks for against its key; call it once, before any work is done for the request.

    Raises RequestError with `model_forbidden` or `rate_limited`. Does nothing on a server without keys.
    """
    grant = request.scope["state"].get(STATE)
    if grant is None:
        return
    assert isinstance(grant, Grant)  # noqa: S101 - the middleware is the only writer
    allowed = grant.key.models
    if allowed is not None and model not in allowed:
        raise RequestError(
            ErrorCode.MODEL_FORBIDDEN,
            f"key {grant.key.name} may not use this model; it may use {', '.join(allowed)}",
            field="model",
        )
    grant.limiter.charge(images, answers)


def _is_open(scope: Scope) -> bool:
    # As Starlette's router sees it: without the prefix that Serve mounts the application at.
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return path in OPEN or path.startswith(OPEN_BELOW)
