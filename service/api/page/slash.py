"""The page below a route prefix: `/my-api` leads to `/my-api/`, from where relative links work."""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class SlashMiddleware:
    """Redirects the bare route prefix.

    Starlette's own redirect names scheme and host as this process sees them, which behind an ingress that
    ends TLS are not the browser's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        prefix = scope.get("root_path", "")
        if scope["type"] == "http" and prefix and scope["path"] == prefix:
            response = RedirectResponse(prefix.rpartition("/")[2] + "/", 308)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)
