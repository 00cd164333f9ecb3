"""Refuses requests without a known key before their body is read.

The limits of a key stay with the replicas, each of which checks the key again.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth.middleware import Authenticator
from service.api.errors import render
from service.api.request_state import state_of
from service.errors import RequestError


class KeyMiddleware:
    """Lets a request pass if its key is in the file, and any request if there is no file."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        keys = self.authenticator.keys
        if scope["type"] == "http" and keys is not None:
            try:
                grant = self.authenticator.grant(Headers(scope=scope), await keys.current())
            except RequestError as error:
                await render(scope, error)(scope, receive, send)
                return
            state_of(scope).key_name = grant.key.name
        await self.app(scope, receive, send)
