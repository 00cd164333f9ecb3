"""One request in progress, as its event loop sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service.errors import RequestError
from service.protocol.request import Completion, SpelledLogprobs, Usage


@dataclass(frozen=True, slots=True)
class Update:
    """What has happened to a request: more text, and at the end its completion or error."""

    piece: str = ""
    logprobs: tuple[SpelledLogprobs, ...] = ()
    completion: Completion | None = None
    error: RequestError | None = None

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.completion is not None or self.error is not None


class RequestHandle:
    """A request that the engine has taken. Belongs to the event loop that submitted it.

    `deadline`, a moment of ``time.monotonic()``, is this request's own, though others may share its answer.
    `broken_off`, `streamed` and `given` are the engine's: what was spent on a request that ended before its
    answer did, whether pieces are wanted, and the characters given out so far.
    """

    def __init__(self, cancel: Callable[["RequestHandle"], None], *, deadline: float | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        self.completion: Completion | None = None
        self.broken_off: Usage | None = None
        self.streamed = False
        self.given = 0
        self.cancelled = False
        self._cancel = cancel
        self.given_logprobs = 0
        self._logprobs: list[SpelledLogprobs] = []  # received, but not taken yet
        self._taken_logprobs = 0
        self._text = ""  # received, but not given out yet
        self._reader: asyncio.Future[None] | None = None
        self._final: asyncio.Future[Update] = self.loop.create_future()

    async def result(self) -> Completion:
        """The whole text. A caller that is cancelled cancels the request.

        Raises RequestError, or asyncio.CancelledError if `cancel` was called.
        """
        try:
            update = await asyncio.shield(self._final)
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self._completed(update)

    async def stream(self) -> AsyncIterator[str]:
        """The text piece by piece, as it comes; afterwards `completion` is set. Raises as `result` does.

        A reader that is slower than the text gets what came meanwhile as one piece.
        """
        self.streamed = True
        given = 0
        try:
            while not self._final.done():
                piece, self._text = self._text, ""
                if piece:
                    given += len(piece)
                    yield piece
                else:
                    self._reader = self.loop.create_future()
                    await self._reader
            if self._text:  # before what may be an error
                given += len(self._text)
                yield self._text
            # All that is left: a stream may have begun after the engine's last look.
            if left := self._completed(self._final.result()).text[given:]:
                yield left
        finally:
            self.cancel()

    def take_logprobs(self) -> list[SpelledLogprobs]:
        """Those that have come since the last call, for a reader of the stream."""
        if self.completion is not None:
            found = list(self.completion.logprobs[self._taken_logprobs :])
        else:
            found, self._logprobs = self._logprobs, []
        self._taken_logprobs += len(found)
        return found

    def cancel(self) -> None:
        """Give the request up, on the event loop; does nothing once it has ended."""
        if not self.cancelled and not self._final.done():
            self.cancelled = True
            self._final.cancel()
            self._wake_reader()
            self._cancel(self)

    def take(self, update: Update) -> None:
        """Take in an update, on the event loop."""
        if self._final.done():
            return
        if update.final:
            self._final.set_result(update)
        elif self.streamed:
            self._text += update.piece
            self._logprobs += update.logprobs
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _completed(self, update: Update) -> Completion:
        if update.error is not None:
            # A fresh one: an exception that is raised twice carries both tracebacks.
            raise RequestError(update.error.code, update.error.message, field=update.error.field)
        if update.completion is None:
            raise RuntimeError("a request ended with neither a completion nor an error")
        self.completion = update.completion
        return update.completion
