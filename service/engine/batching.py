"""Continuous batching: sequences join and leave between steps."""

import logging
from collections import abc
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import torch

from service.engine.executor import Executor
from service.engine.lookup import PromptLookup
from service.engine.pages import PageTable, page_hashes
from service.engine.sampling.logprobs import logprobs
from service.engine.sampling.sampler import NOT_A_TOKEN, generator_of, sample
from service.engine.scheduler import Chunk, Scheduler
from service.engine.sequence import Sequence
from service.errors import EngineStopped
from service.protocol.request import TokenLogprobs
from service.protocol.stats import RankStats

logger = logging.getLogger("capstan.engine")

# So many failed steps in a row are not the fault of the requests.
FAILED_STEPS = 8


class Batcher(Protocol):
    """What the step loop drives: it takes sequences and advances them. Called by one thread."""

    name: str
    slots: int
    context_length: int
    cache_bytes: int

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        ...

    def step(self, between: Callable[[], None]) -> bool:
        """Advance the sequences; whether there was anything to do.

        A step that writes whole answers calls `between` after each token: it reports what is new, and
        may cancel sequences. Raises EngineStopped if no later step can work.
        """
        ...

    def retire(self) -> list[Sequence]:
        """Drop the sequences that are done, waiting or not, and return them."""
        ...

    @property
    def running(self) -> abc.Sequence[Sequence]:
        """The sequences that are computed now."""
        ...

    def stats(self) -> RankStats:
        """Counters and gauges."""
        ...

    def reset_counters(self) -> None:
        """Count from zero again."""
        ...


class ContinuousBatcher:
    """See `Batcher`. Every step schedules, computes, samples and takes the tokens."""

    def __init__(
        self,
        executor: Executor,
        scheduler: Scheduler,
        *,
        name: str,
        stop_ids: frozenset[int],
        context_length: int,
        cache_bytes: int,
        prompt_lookup: int = 0,
    ) -> None:
        self.name = name
        self.executor = executor
        self.scheduler = scheduler
        self.table: PageTable = scheduler.table
        self.context_length = min(context_length, self.table.total * self.table.page_tokens)
        self.cache_bytes = cache_bytes
        self.slots = scheduler.slots
        self.stop_ids = stop_ids
        self.prompt_lookup = prompt_lookup
        self._prefilled = 0
        self._decoded = 0
        self._drafted = 0
        self._accepted = 0
        self._failed_steps = 0

    @property
    def running(self) -> abc.Sequence[Sequence]:
        """The sequences that run."""
        return self.scheduler.running

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        sequence.generator = generator_of(sequence.sampling)
        if self.prompt_lookup and sequence.sampling.plain:
            sequence.lookup = PromptLookup(sequence.prompt, self.prompt_lookup)
        # What is cached of a token that sees later ones depends on those.
        if sequence.sight is None:
            keys = [image.key for image in sequence.images]
            sequence.page_hashes = page_hashes(sequence.prompt, keys, self.table.page_tokens)
        self.scheduler.add(sequence)

    def stats(self) -> RankStats:
        """Counters and gauges."""
        return RankStats(
            waiting=len(self.scheduler.waiting),
            running=len(self.scheduler.running),
            prefill_tokens=self._prefilled,
            decode_tokens=self._decoded,
            pages_used=self.table.used,
            pages_free=self.table.available,
            preempted=self.scheduler.preempted,
            prefix_tokens=self.table.shared_tokens,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
        )

    def reset_counters(self) -> None:
        """Count from zero again."""
        self._prefilled = self._decoded = self.scheduler.preempted = self.table.shared_tokens = 0
        self._drafted = self._accepted = 0

    def retire(self) -> list[Sequence]:
        """Free the pages of sequences that are done."""
        done = self.scheduler.retire()
        for sequence in done:
            self.executor.drop(sequence)
        return done

    @torch.inference_mode()
    def step(self, between: Callable[[], None]) -> bool:  # noqa: ARG002 - a step is a few tokens of a sequence
        """Schedule, compute, sample, take; a batch that fails is done again, each sequence alone.

        Raises EngineStopped if the device has failed, or step after step.
        """
        chunks = self.scheduler.schedule()
        if not chunks:
            return False
        start = monotonic()
        if not self._attempt(chunks):
            # Not in the handler: its traceback would keep the tensors of the failed batch alive.
            worked = [len(chunks) > 1 and self._attempt([chunk]) for chunk in chunks]
            for chunk, one_worked in zip(chunks, worked, strict=True):
                chunk.sequence.failed |= not one_worked
            self._count(any(worked))
        _divide(chunks, start)
        return True

    def _attempt(self, chunks: abc.Sequence[Chunk]) -> bool:
        """Compute chunks and take their tokens; whether that worked."""
        try:
            logits = self.executor.compute(chunks)  # [R, V]
            owners = [chunk for chunk in chunks for _ in range(1 + len(chunk.draft))]  # [R]
            ended = [row for row, chunk in enumerate(owners) if chunk.last]
            sequences = [owners[row].sequence for row in ended]
            logits = logits if len(ended) == len(owners) else logits[ended]
            tokens = sample(logits, sequences, self.stop_ids).tolist()
            likely = logprobs(logits, sequences, tokens)
        except torch.AcceleratorError as error:
            raise EngineStopped(f"the device has failed: {error}") from error
        except EngineStopped:
            raise
        except Exception:
            logger.exception("a step with %d requests failed", len(chunks))
            return False
        row = 0
        for chunk in chunks:
            last, rows = chunk.last, 1 + len(chunk.draft)
            self._note(chunk)
            if last:
                self._take(chunk, tokens[row : row + rows], likely.get(row))
                row += rows
        return True

    def _take(self, chunk: Chunk, tokens: abc.Sequence[int], likely: TokenLogprobs | None) -> None:
        """Append what follows a chunk: the token after each right guess of its draft, and one more."""
        sequence = chunk.sequence
        if NOT_A_TOKEN in tokens:  # after a wrong guess too: what is cached of it would survive a mask
            logger.error("the logits of a request are not numbers")
            sequence.failed = True
            return
        sequence.take(tokens[0], self.stop_ids, likely)
        for guess, token, following in zip(chunk.draft, tokens, tokens[1:], strict=False):
            if guess != token or sequence.done:
                break
            sequence.filled += 1
            self._decoded += 1
            self._accepted += 1
            sequence.take(following, self.stop_ids)

    def _note(self, chunk: Chunk) -> None:
        if chunk.start < len(chunk.sequence.prompt):
            self._prefilled += chunk.end - chunk.start - len(chunk.draft)
        else:
            self._decoded += 1
        self._drafted += len(chunk.draft)
        self.scheduler.computed(chunk)

    def _count(self, worked: bool) -> None:
        self._failed_steps = 0 if worked else self._failed_steps + 1
        if self._failed_steps >= FAILED_STEPS:
            raise EngineStopped(f"{self._failed_steps} steps in a row have failed; the log says why")


def _divide(chunks: abc.Sequence[Chunk], start: float) -> None:
    """Charge the time of a step to its sequences, by their tokens."""
    part = (monotonic() - start) / sum(chunk.end - chunk.start for chunk in chunks)
    for chunk in chunks:
        timeline = chunk.sequence.timeline
        timeline.compute += part * (chunk.end - chunk.start)
        timeline.running = timeline.running or start
