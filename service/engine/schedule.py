"""Who is served when: pure Python, no tensors, no threads, no clock.

A step takes waiting runs into free rows in the order of their arrival, then reads prompts up to a bound of
tokens, then decodes every run whose prompt has been read.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.pools import Place, Pool, Pools
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `end` of a run's prompt, to be read in this step."""

    run: Sequence
    start: int
    end: int

    @property
    def last(self) -> bool:
        """Whether the prompt ends here, so that the first token of the answer follows."""
        return self.end == len(self.run.prompt)


class Scheduler:
    """Queues and rows of one engine. `move` copies so many tokens of a row of the cache onto another row."""

    def __init__(
        self,
        pools: Pools,
        *,
        slots: int,
        prefill_tokens: int,
        chunk_tokens: int = 512,
        move: Callable[[Place, Place, int], None],
    ) -> None:
        self.pools = pools
        self.slots = slots
        self.prefill_tokens = prefill_tokens
        self.chunk_tokens = chunk_tokens
        self.move = move
        self.waiting: deque[Sequence] = deque()
        self._rows: dict[Pool, list[Sequence]] = {}
        self._ended: list[Sequence] = []  # came to the head of the queue when they were done already

    @property
    def running(self) -> list[list[Sequence]]:
        """The runs of each pool that has any, in the order of their rows."""
        return list(self._rows.values())

    @property
    def active(self) -> int:
        """Runs that have a row."""
        return sum(map(len, self._rows.values()))

    def add(self, run: Sequence) -> None:
        """Queue a prepared run."""
        self.waiting.append(run)

    def admit(self) -> None:
        """Give rows to waiting runs, first come first served: no later one overtakes one that must wait."""
        while self.waiting and self.active < self.slots:
            run = self.waiting[0]
            if run.done:
                self._ended.append(self.waiting.popleft())
                continue
            place = self.pools.take(len(run.prompt) + run.limit)
            if place is None:
                return
            run.place = place
            self._rows.setdefault(place.pool, []).append(self.waiting.popleft())

    def chunks(self) -> list[Chunk]:
        """The prompt tokens of this step: at least one chunk if any prompt is unread, at most the bound.

        While answers are being written no prompt gets more than `chunk_tokens`, so that they do not stall.
        """
        writing = any(run.answer and not run.done for pool in self.running for run in pool)
        most = self.chunk_tokens if writing else self.prefill_tokens
        left, found = self.prefill_tokens, list[Chunk]()
        for pool in self.running:
            for run in pool:
                if run.prefilling and left > 0:
                    end = min(len(run.prompt), run.filled + min(left, most))
                    found.append(Chunk(run, run.filled, end))
                    left -= end - run.filled
        return found

    def retire(self) -> list[Sequence]:
        """Free the rows of all runs that are done, move others into the gaps, and return the done ones."""
        retired, self._ended = self._ended, []
        if any(run.done for run in self.waiting):
            retired += [run for run in self.waiting if run.done]
            self.waiting = deque(run for run in self.waiting if not run.done)
        for run in [run for runs in self._rows.values() for run in runs if run.done]:
            retired.append(run)
            self._free(run)
        return retired

    def _free(self, run: Sequence) -> None:
        place, run.place = run.place, None
        if place is None:
            return
        runs = self._rows[place.pool]
        moved = self.pools.give_back(place)
        last = runs.pop()
        if moved is not None:
            self.move(moved, place, last.filled)
            runs[place.row] = last
            last.place = place
        if not runs:
            del self._rows[place.pool]
