"""Answers that are sent while they are written: server-sent events.

Source: WHATWG HTML, "Server-sent events".
"""

import logging
from collections.abc import AsyncIterator
from typing import Self

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from service.api.rendering import error_body, internal_error
from service.api.request_id import request_id
from service.engine.generation import Generation
from service.errors import RequestError

logger = logging.getLogger("capstan.api")

MEDIA_TYPE = "text/event-stream"
# No cache and no proxy may hold a piece back; the second is nginx's own word for it.
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def event(data: BaseModel | str, name: str = "") -> bytes:
    """One event; `data` without line breaks, as JSON never has any."""
    text = data if isinstance(data, str) else data.model_dump_json()
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


class Pieces:
    """The pieces of one generation, the first of which is there already.

    So a request that is refused, or that fails before it has begun, is answered by its own status.
    """

    def __init__(self, generation: Generation, pieces: AsyncIterator[str], first: str) -> None:
        self.generation = generation
        self._pieces = pieces
        self._first = first

    @classmethod
    async def of(cls, generation: Generation) -> Self:
        """Wait for the first piece. Raises RequestError as `Generation.result` does."""
        pieces = generation.stream()
        return cls(generation, pieces, await anext(pieces, ""))

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._first:
            yield self._first
        async for piece in self._pieces:
            yield piece


class EventStream(StreamingResponse):
    """Server-sent events over a generation, which is cancelled when the client goes away.

    An error in the middle becomes the last event, named `error_name` where the events have names.
    """

    def __init__(
        self,
        request: Request,
        generation: Generation,
        events: AsyncIterator[bytes],
        *,
        error_name: str = "",
    ) -> None:
        self._generation = generation
        self._request_id = request_id(request.scope)
        self._error_name = error_name
        super().__init__(self._guarded(events), media_type=MEDIA_TYPE, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.cancel()

    async def _guarded(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for one in events:
                yield one
        except RequestError as error:
            yield event(error_body(error, self._request_id), self._error_name)
        except Exception:
            logger.exception("request_id=%s failed in its stream", self._request_id)
            yield event(error_body(internal_error(), self._request_id), self._error_name)
