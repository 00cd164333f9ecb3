"""Routes whose function reads the request itself, as those do that the load is on."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class RequestRoute(APIRoute):
    """A route whose function takes the request and returns the response, called as it is.

    FastAPI would look for parameters and dependencies at each request; there are none.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The function itself."""
        endpoint: Callable[[Request], Awaitable[Response]] = self.endpoint
        return endpoint
