"""From the engine's thread to the event loops: one hand-over a step, whatever the number of tokens."""

from asyncio import AbstractEventLoop
from collections.abc import Iterable

from service.engine.request import Completion, FinishReason, Usage
from service.engine.request_handle import RequestHandle, Update
from service.engine.sequence import Sequence


class Deliveries:
    """Collects news and hands them over together."""

    def __init__(self) -> None:
        self._news: dict[AbstractEventLoop, list[tuple[RequestHandle, Update]]] = {}

    def add_text(self, run: Sequence) -> None:
        """Queue what is new of an unfinished run for those who read along."""
        text = run.detokenizer
        if text is None:
            return
        readers = [listener for listener in run.listeners if listener.streamed]
        if not readers:
            return
        available = text.available
        for listener in readers:
            if available > listener.given:
                self.add(listener, Update(piece=text.text[listener.given : available]))
                listener.given = available

    def add_end(self, run: Sequence, listeners: Iterable[RequestHandle]) -> None:
        """Queue the end of a run for all who waited for it."""
        listeners = list(listeners)
        if not listeners:
            return
        news = Update(error=run.error) if run.error else Update(completion=_completion(run, len(listeners)))
        for listener in listeners:
            self.add(listener, news)

    def add(self, listener: RequestHandle, news: Update) -> None:
        """Queue news for one."""
        self._news.setdefault(listener.loop, []).append((listener, news))

    def hand_over(self) -> None:
        """Pass everything on to the loops; one that has been closed has nobody left to tell."""
        batches, self._news = self._news, {}
        for loop, news in batches.items():
            try:
                loop.call_soon_threadsafe(_tell, news)
            except RuntimeError:
                if not loop.is_closed():
                    raise


def _tell(batch: Iterable[tuple[RequestHandle, Update]]) -> None:
    for listener, news in batch:
        listener.tell(news)


def _completion(run: Sequence, sharers: int) -> Completion:
    tokens = len(run.answer)
    return Completion(
        text=run.detokenizer.text if run.detokenizer else "",
        finish_reason=run.finish or FinishReason.STOP,
        usage=Usage(prompt_tokens=len(run.prompt), image_tiles=run.image_tiles, completion_tokens=tokens),
        timings=run.timeline.timings(tokens=tokens, sharers=sharers),
    )
