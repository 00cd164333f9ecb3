"""What no route expected: a 500 that tells nothing of the inside, and the traceback in the log."""

import logging

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.rendering import internal_error, render
from service.api.request_id import request_id

logger = logging.getLogger("capstan.api")


class FaultMiddleware:
    """Answers for exceptions that are bugs.

    Starlette's own handler raises them once more after its answer, and the server would log them twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            if scope["type"] != "http" or begun:
                raise
            logger.exception("request_id=%s failed", request_id(scope))
            await render(Request(scope), internal_error())(scope, receive, send)
