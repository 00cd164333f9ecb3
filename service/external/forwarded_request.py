"""One request that another server answers, as the API sees it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import aiohttp

from service.external import refusals
from service.external.answers import Chunk, NonsenseError, Whole, chunk, document, whole
from service.external.event_lines import EventTooLong, event_data
from service.external.fair_slots import FairSlots
from service.external.forwarder import Forwarder
from service.protocol.request import Completion, FinishReason, Request, SpelledLogprobs, Timings, Usage

DONE = b"[DONE]"

T = TypeVar("T")


class ForwardedRequest:
    """Sends its request when its answer is read, whole (`result`, `whole`) or streamed (`stream`, `chunks`).

    `ended` is called once, with the error of a request that failed.
    """

    def __init__(
        self,
        request: Request,
        forwarder: Forwarder,
        slots: FairSlots,
        ended: Callable[["ForwardedRequest", BaseException | None], None],
    ) -> None:
        self.request = request
        self.started = time.monotonic()
        self.completion: Completion | None = None
        self.broken_off: Usage | None = None  # the other server does not say
        self._forwarder = forwarder
        self._slots = slots
        self._ended: Callable[[ForwardedRequest, BaseException | None], None] | None = ended
        self._has_slot = False
        self._admitted = self._sent = self._first = 0.0
        self._response: aiohttp.ClientResponse | None = None

    async def result(self) -> Completion:
        """See `service.protocol.engine.Handle`."""
        return (await self.whole()).completion

    async def stream(self) -> AsyncIterator[str]:
        """See `service.protocol.engine.Handle`."""
        async with aclosing(self.chunks()) as chunks:
            async for piece in chunks:
                if piece.text:
                    yield piece.text

    async def whole(self) -> Whole:
        """The completion, with all that the other server said of it. Raises as `result` does."""
        try:
            answer = await self._in_time(self._whole())
        except BaseException as error:
            self._end(error)
            raise
        self.completion = answer.completion
        self._end(None)
        return answer

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The answer chunk by chunk, as the other server sends it. Raises as `stream` does."""
        try:
            response = await self._in_time(self._open(stream=True))
            counted = _Counted()
            async with aclosing(event_data(self._bytes(response))) as events:
                while (data := await self._in_time(anext(events, DONE))) != DONE:
                    piece = counted.add(data)
                    if piece.choice is not None:
                        self._first = self._first or time.monotonic()
                        yield piece
            self.completion = counted.completion(self._timings)
        except (NonsenseError, EventTooLong) as error:
            failure = refusals.failure(str(error))
            self._end(failure)
            raise failure from None
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    def take_logprobs(self) -> list[SpelledLogprobs]:
        """None: the other server's chunks have them."""
        return []

    def cancel(self) -> None:
        """See `service.protocol.engine.Handle`. The other server sees its connection end."""
        self._end(asyncio.CancelledError())

    async def _open(self, *, stream: bool) -> aiohttp.ClientResponse:
        await self._slots.acquire(self.request.client)
        self._has_slot = True
        self._admitted = time.monotonic()
        messages = await self._forwarder.messages(self.request)
        self._sent = time.monotonic()
        self._response = await self._forwarder.send(self.request, messages, stream=stream)
        return self._response

    async def _whole(self) -> Whole:
        data = await self._forwarder.read(await self._open(stream=False))
        try:
            return whole(document(data), self._timings)
        except NonsenseError as error:
            raise refusals.failure(str(error)) from None

    def _timings(self, tokens: int) -> Timings:
        now = time.monotonic()
        first = self._first or now
        return Timings(
            queue=self._admitted - self.started,
            preparation=self._sent - self._admitted,
            ready=0.0,  # the other server does not say
            prefill=first - self._sent,
            decode=now - first,
            compute=0.0,  # as above
            tokens=tokens,
        )

    async def _bytes(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
        try:
            async for data in response.content.iter_any():
                self._forwarder.heard = time.monotonic()
                yield data
        except aiohttp.ClientError as error:
            raise refusals.failure(type(error).__name__) from None

    async def _in_time(self, work: Awaitable[T]) -> T:
        deadline = self.request.deadline
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                return await work
        except TimeoutError:
            raise refusals.too_late() from None

    def _end(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._response is not None:
            if error is None:
                self._response.release()
            else:
                self._response.close()
        if self._has_slot:
            self._slots.release()
        ended(self, error)


class _Counted:
    """A streamed answer as far as it has come."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def add(self, data: bytes) -> Chunk:
        """Read an event. Raises RequestError for an error, NonsenseError for what is no chunk."""
        body = document(data)
        if body.get("error") is not None:
            raise refusals.refusal(refusals.status_in(body), body)
        piece = chunk(body)
        self._texts.append(piece.text)
        self._reason = piece.finish_reason or self._reason
        self._usage = piece.usage or self._usage
        return piece

    def completion(self, timings: Callable[[int], Timings]) -> Completion:
        """What has come. Raises RequestError for a stream that broke off."""
        if self._reason is None:
            raise refusals.failure("the stream broke off")
        usage = self._usage or Usage(0, 0, len(self._texts))
        return Completion("".join(self._texts), self._reason, usage, timings(usage.completion_tokens))
