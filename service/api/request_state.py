"""What is known about a request while it is being served."""

from dataclasses import dataclass

from starlette.types import Scope

from service.errors import ErrorCode

STATE = "capstan"


@dataclass(slots=True)
class RequestState:
    """Created by `RequestLogMiddleware`, completed by the layers below it.

    `key_name` is the name of the API key; empty on a server without keys, and until the key is known. `code`
    is that of the error that the request ended with.
    """

    request_id: str
    key_name: str = ""
    code: ErrorCode | None = None


def state_of(scope: Scope) -> RequestState:
    """The state of the request with this ASGI scope."""
    state = scope["state"][STATE]
    assert isinstance(state, RequestState)  # noqa: S101 - the middleware is the only writer
    return state
