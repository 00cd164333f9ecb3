"""Answers that are sent while they are generated, as server-sent events.

Source: WHATWG HTML, "Server-sent events".
"""

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Generic, Self, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from service.api.errors import error_body, internal_error
from service.api.request_state import state_of
from service.api.routes.answers import cancel, merged
from service.errors import RequestError
from service.protocol.engine import Handle

logger = logging.getLogger("capstan.api")

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
# No cache or proxy may hold pieces back; nginx reads the second header.
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def event(data: BaseModel | str, name: str = "") -> bytes:
    """One event. `data` has no line breaks: JSON never does."""
    text = data if isinstance(data, str) else data.model_dump_json()
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


class AnswerStream(Generic[T]):
    """The pieces of the answers to one request, once the first is there.

    Each comes with the index of its answer; None is the end of that answer. A request that is refused, or
    that fails before its first piece, is thus answered by its own status.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        pieces: AsyncIterator[tuple[int, T | None]],
        first: tuple[int, T | None],
    ) -> None:
        self.handles = handles
        self._pieces = pieces
        self._first = first

    @classmethod
    async def start(cls, handles: Sequence[Handle], streams: Sequence[AsyncIterator[T]]) -> Self:
        """Wait for the first piece of the streams. Raises RequestError as `Handle.result` does."""
        pieces = merged(streams)
        try:
            return cls(handles, pieces, await anext(pieces))
        except BaseException:
            cancel(handles)
            raise

    async def __aiter__(self) -> AsyncIterator[tuple[int, T | None]]:
        yield self._first
        async for piece in self._pieces:
            yield piece


class EventStream(StreamingResponse):
    """The server-sent events of one request, whose answers are given up if the client disconnects.

    A later error becomes the last event, called `error_name` if the events have names.
    """

    def __init__(
        self,
        request: Request,
        handles: Sequence[Handle],
        events: AsyncIterator[bytes],
        *,
        error_name: str = "",
    ) -> None:
        self._handles = handles
        self._state = state_of(request.scope)
        self._error_name = error_name
        super().__init__(self._guarded(events), media_type=MEDIA_TYPE, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            cancel(self._handles)

    async def _guarded(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for one in events:
                yield one
        except RequestError as error:
            yield self._last(error)
        except Exception:
            request_id = self._state.request_id
            logger.exception(
                "request_id=%s failed while streaming", request_id, extra={"request_id": request_id}
            )
            yield self._last(internal_error())

    def _last(self, error: RequestError) -> bytes:
        self._state.failed(error)
        return event(error_body(error, self._state.request_id), self._error_name)
