"""What a route knows of the key that a request came with."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Scope

from service.api.access.account import Account
from service.api.access.keys import Key
from service.errors import ErrorCode, RequestError

STATE = "grant"


@dataclass(frozen=True, slots=True)
class Grant:
    """The key of a request that was let in, as it was then, and its account."""

    key: Key
    account: Account


def charge(request: Request, *, images: int, model: str) -> None:
    """Count what a request asks for against its key; to be called once, before work is begun on it.

    Raises RequestError with `model_forbidden` or `rate_limited`. Does nothing on a server without keys.
    """
    grant = _grant(request.scope)
    if grant is None:
        return
    allowed = grant.key.models
    if allowed is not None and model not in allowed:
        raise RequestError(
            ErrorCode.MODEL_FORBIDDEN,
            f"the key {grant.key.name} may not use this model; it may use {', '.join(allowed)}",
            field="model",
        )
    grant.account.charge(images)


def client_of(request: Request) -> str:
    """The name of the key that a request came with; empty on a server without keys."""
    return client_of_scope(request.scope)


def client_of_scope(scope: Scope) -> str:
    """As `client_of`, for ASGI middlewares."""
    grant = _grant(scope)
    return grant.key.name if grant else ""


def _grant(scope: Scope) -> Grant | None:
    grant = scope.get("state", {}).get(STATE)
    assert grant is None or isinstance(grant, Grant)  # noqa: S101 - the middleware is the only writer
    return grant
