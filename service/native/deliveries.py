"""Updates on their way to the event loops: one call of a loop for a step, whatever the number of tokens."""

from asyncio import AbstractEventLoop
from collections.abc import Iterable

from service.native.answer import Answer
from service.native.request_handle import RequestHandle, Update


class Deliveries:
    """Collects updates and hands them over together."""

    def __init__(self) -> None:
        self._updates: dict[AbstractEventLoop, list[tuple[RequestHandle, Update]]] = {}

    def add_text(self, answer: Answer) -> None:
        """Queue the new text of an unfinished answer for those that stream it."""
        text, readers = answer.detokenizer, [handle for handle in answer.handles if handle.streamed]
        if text is None or not readers:
            return
        available = text.available
        for handle in readers:
            if available > handle.given:
                logprobs = tuple(answer.logprobs[handle.given_logprobs :])
                self.add(handle, Update(piece=text.text[handle.given : available], logprobs=logprobs))
                handle.given, handle.given_logprobs = available, len(answer.logprobs)

    def add_end(self, answer: Answer, handles: Iterable[RequestHandle]) -> None:
        """Queue the end of an answer for all that waited for it."""
        handles = list(handles)
        if not handles:
            return
        completion = None if answer.error else answer.completion(len(handles))
        update = Update(completion=completion, error=answer.error)
        for handle in handles:
            self.add(handle, update)

    def add(self, handle: RequestHandle, update: Update) -> None:
        """Queue an update for one request."""
        self._updates.setdefault(handle.loop, []).append((handle, update))

    def hand_over(self) -> None:
        """Pass everything on to the loops; a loop that is closed has no readers left."""
        batches, self._updates = self._updates, {}
        for loop, updates in batches.items():
            try:
                loop.call_soon_threadsafe(_deliver, updates)
            except RuntimeError:
                if not loop.is_closed():
                    raise


def _deliver(batch: Iterable[tuple[RequestHandle, Update]]) -> None:
    for handle, update in batch:
        handle.take(update)
