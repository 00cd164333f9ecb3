"""Scheduling policy: pure Python, no tensors, no threads, no clock.

A step computes one token of each sequence that is writing, or several where a draft guesses what follows it,
and prompts, first come, first served, up to a number of tokens. Sequences get pages as they grow; where there
are none the youngest is preempted: it gives its pages up and is computed again later, answer and all. A
sequence whose prompt begins like one that is being read waits for that one's pages, so nothing is read twice.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.lookup import PromptLookup
from service.engine.pages import PageTable
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `end` of a sequence's prompt and answer, to be computed in this step.

    The last of them may be a `draft`: guesses, which are not in the answer yet.
    """

    sequence: Sequence
    start: int
    end: int
    draft: tuple[int, ...] = ()

    @property
    def last(self) -> bool:
        """Whether the next token follows from it."""
        return self.end == self.sequence.length + len(self.draft)

    @property
    def tokens(self) -> list[int]:
        """The tokens, those of the draft included."""
        return [*self.sequence.tokens(self.start, self.end), *self.draft]


class Scheduler:
    """The queue and the running sequences of one engine.

    At most `slots` sequences run. A step reads at most `step_tokens` tokens of prompts, and of each at most
    `chunk_tokens` while answers are being written. `clear` zeroes a page in which a NaN may be.
    """

    def __init__(
        self,
        table: PageTable,
        *,
        slots: int,
        step_tokens: int,
        chunk_tokens: int,
        clear: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.table = table
        self.clear = clear
        self.slots = slots
        self.step_tokens = step_tokens
        self.chunk_tokens = chunk_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in the order in which they came
        self.preempted = 0

    def add(self, sequence: Sequence) -> None:
        """Queue a prepared sequence."""
        self.waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """What to compute in this step."""
        before, writing = self.preempted, self._writing()
        left, most = self.step_tokens, self.chunk_tokens if writing else self.step_tokens
        chunks = writing
        for sequence in list(self.running):
            if left > 0 and not sequence.done and sequence.filled < sequence.length - 1:
                chunk = self._chunk(sequence, min(left, most))
                if chunk is None:
                    break
                chunks.append(chunk)
                left -= chunk.end - chunk.start
        # Growing for one may have preempted another that was scheduled before.
        chunks = [chunk for chunk in chunks if chunk.sequence.pages]
        reading = self._reading()
        while left > 0 and self.preempted == before and (admitted := self._admit(reading)) is not None:
            chunk = self._chunk(admitted, min(left, most))
            if chunk is None:
                break
            chunks.append(chunk)
            left -= chunk.end - chunk.start
        return chunks

    def computed(self, chunk: Chunk) -> None:
        """Note that a chunk is in the cache; its draft is overwritten unless it turns out right."""
        sequence = chunk.sequence
        sequence.filled = chunk.end - len(chunk.draft)
        if chunk.start < len(sequence.prompt):
            full = chunk.end // self.table.page_tokens
            self.table.publish(sequence.pages[:full], sequence.page_hashes)

    def retire(self) -> list[Sequence]:
        """Free the pages of the sequences that are done, waiting or not, and return them."""
        done = [sequence for sequence in (*self.running, *self.waiting) if sequence.done]
        if done:
            self.running = [sequence for sequence in self.running if not sequence.done]
            self.waiting = deque(sequence for sequence in self.waiting if not sequence.done)
        for sequence in done:
            # A failed or unread prompt may have left a NaN, which would survive the mask of attention.
            whole = not sequence.failed and sequence.filled >= len(sequence.prompt)
            for page in self.table.release(sequence.pages, whole=whole):
                self.clear(page)
        return done

    def _writing(self) -> list[Chunk]:
        """The next token of each sequence that has been read, the oldest first."""
        before, found = self.preempted, list[Chunk]()
        for sequence in list(self.running):
            start = sequence.length - 1
            if sequence.done or sequence.filled != start:
                continue
            if self.preempted != before and sequence not in self.running:
                continue
            fits = start < len(sequence.pages) * self.table.page_tokens
            if fits or self._grow(sequence, start + 1):
                draft = () if sequence.lookup is None else self._draft(sequence, sequence.lookup)
                found.append(Chunk(sequence, start, start + 1 + len(draft), draft))
        return [chunk for chunk in found if chunk.sequence.pages]

    def _draft(self, sequence: Sequence, lookup: PromptLookup) -> tuple[int, ...]:
        """Guesses at what follows, within the limit of the answer; none where they need another's page."""
        draft = lookup.draft(sequence.answer, sequence.limit - len(sequence.answer) - 1)
        return draft if self.table.grow(sequence.pages, sequence.length + len(draft)) else ()

    def _chunk(self, sequence: Sequence, tokens: int) -> Chunk | None:
        if sequence not in self.running:  # preempted for an older one
            return None
        end = min(sequence.length, sequence.filled + tokens)
        if sequence.sight is not None:
            end = sequence.sight.chunk_end(sequence.filled, end)
        if not self._grow(sequence, end):
            return None
        return Chunk(sequence, sequence.filled, end)

    def _reading(self) -> set[bytes]:
        """What will be in the pages that running sequences are about to fill with their prompts."""
        running = [sequence for sequence in self.running if self.waiting and not sequence.done]
        return {digest for sequence in running for digest in self._unread(sequence)}

    def _unread(self, sequence: Sequence) -> list[bytes]:
        return sequence.page_hashes[sequence.filled // self.table.page_tokens :]

    def _admit(self, reading: set[bytes]) -> Sequence | None:
        """Take the first waiting sequence, if its prompt fits; no later one overtakes it.

        One that waits for a page of `reading` keeps its slot meanwhile, but others go on.
        """
        kept = 0
        for sequence in self.waiting:
            if len(self.running) + kept >= self.slots:
                return None
            if sequence.done:
                continue
            # At least one token is left to compute: what follows the prompt comes from it.
            hashes = sequence.page_hashes[: (sequence.length - 1) // self.table.page_tokens]
            known = self.table.known(hashes)
            if known < len(hashes) and hashes[known] in reading:
                kept += 1
                continue
            if not self._place(sequence, hashes[:known]):
                return None
            reading.update(self._unread(sequence))
            return sequence
        return None

    def _place(self, sequence: Sequence, hashes: list[bytes]) -> bool:
        """Let a sequence run with the pages of its prompt that are known; whether the rest fits, too."""
        sequence.pages = self.table.share(hashes)
        if self.table.needed(sequence.length) - len(sequence.pages) > self.table.available:
            self.table.shared_tokens -= len(sequence.pages) * self.table.page_tokens
            self.table.release(sequence.pages)
            return False
        sequence.filled = len(sequence.pages) * self.table.page_tokens
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return True

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Get pages for so many tokens, from younger sequences if need be; the youngest waits for others."""
        while not self.table.grow(sequence.pages, tokens):
            if self.running[-1] is sequence:
                return False
            self._preempt(self.running[-1])
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.table.release(sequence.pages)
        sequence.filled = 0
        self.waiting.appendleft(sequence)
        self.preempted += 1
