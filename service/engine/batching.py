"""Continuous batching: requests join and leave between steps, and every step is four verbs."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from service.engine.detokenizer import Detokenizer
from service.engine.features import FeatureCache, ImageFeatures
from service.engine.pools import Pools, plan_pools
from service.engine.run import Run
from service.engine.runner.protocol import BatchRunner
from service.engine.sampler import generator_of, sample
from service.engine.schedule import Chunk, Scheduler
from service.engine.worker import Deliver, fault

logger = logging.getLogger("capstan.engine")

W = TypeVar("W")


class BatchWorker:
    """See `Worker`."""

    def __init__(
        self,
        runner: BatchRunner,
        *,
        tokenizer: object,
        stop_ids: frozenset[int],
        context_length: int,
        slots: int,
        cache_bytes: int,
        prefill_tokens: int,
        features: FeatureCache,
    ) -> None:
        plans = plan_pools(
            slots=slots,
            context_length=context_length,
            token_bytes=runner.token_bytes,
            cache_bytes=cache_bytes,
        )
        runner.allocate(plans)
        self.name = runner.name
        self.runner = runner
        self.plans = plans
        self.pools = Pools(plans)
        self.longest = self.pools.largest
        self.cache_bytes = runner.token_bytes * sum(plan.rows * plan.capacity for plan in plans)
        self.slots = min(slots, sum(plan.rows for plan in plans))
        self.schedule = Scheduler(self.pools, slots=slots, prefill_tokens=prefill_tokens, move=runner.move)
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.features = features
        self.prefilled = 0
        self.decoded = 0

    @property
    def waiting(self) -> int:
        """Runs without a row."""
        return len(self.schedule.waiting)

    @property
    def active(self) -> int:
        """Runs with a row."""
        return self.schedule.active

    def add(self, run: Run) -> None:
        """Queue a run."""
        run.generator = generator_of(run.request.sampling)
        run.detokenizer = Detokenizer(self.tokenizer, run.request.sampling.stop)
        self.schedule.add(run)

    def runs(self) -> Iterable[Run]:
        """All runs, waiting or with a row."""
        return [*self.schedule.waiting, *(run for pool in self.schedule.running for run in pool)]

    def retire(self) -> list[Run]:
        """Free the rows of runs that are done."""
        return self.schedule.retire()

    @torch.inference_mode()
    def step(self, deliver: Deliver) -> bool:
        """Schedule, prefill, decode, deliver."""
        self.schedule.admit()
        chunks = self.schedule.chunks()
        self._guard(self._prefill, chunks, [chunk.run for chunk in chunks])
        decoding = [run for pool in self.schedule.running for run in pool if run.answer and not run.done]
        if decoding:
            self._guard(self._decode, decoding, decoding)
        if chunks or decoding:
            deliver({*decoding, *(chunk.run for chunk in chunks)})
        return bool(chunks or decoding)

    def _guard(self, verb: Callable[[Sequence[W]], None], work: Sequence[W], runs: Sequence[Run]) -> None:
        """Do a verb; what it throws ends the runs that took part, never the loop."""
        try:
            if work:
                verb(work)
        except Exception:
            logger.exception("a step with %d requests failed", len(runs))
            for run in runs:
                run.error = fault()

    def _prefill(self, chunks: Sequence[Chunk]) -> None:
        self._see([chunk.run for chunk in chunks if chunk.start == 0])
        logits = self.runner.prefill(chunks)  # [B, V]
        ended = [index for index, chunk in enumerate(chunks) if chunk.last]
        for chunk in chunks:
            chunk.run.filled = chunk.end
            self.prefilled += chunk.end - chunk.start
        if ended:
            runs = [chunks[index].run for index in ended]
            self._take(runs, sample(logits if len(ended) == len(chunks) else logits[ended], runs))

    def _see(self, runs: Sequence[Run]) -> None:
        """Compute the image features that are not known yet, all in one pass."""
        unseen: dict[object, list[Run]] = {}
        for run in runs:
            if run.features is None and run.inputs is not None and run.inputs.pixels is not None:
                unseen.setdefault(run.feature_key, []).append(run)
        if not unseen:
            return
        inputs = [alike[0].inputs for alike in unseen.values()]
        pixels = [one.pixels for one in inputs if one is not None and one.pixels is not None]
        found = self.runner.features(pixels)
        for (key, alike), values in zip(unseen.items(), found, strict=True):
            for run in alike:
                run.features = values
            tiles = alike[0].inputs.tiles_per_image if alike[0].inputs else ()
            # A copy of its own: a view would keep the whole batch in memory.
            self.features.put(key, ImageFeatures(values.clone(), tiles))

    def _decode(self, decoding: Sequence[Run]) -> None:
        running = self.schedule.running
        logits = self.runner.decode(running)  # [B, V]
        everyone = [run for pool in running for run in pool]
        if len(everyone) != len(decoding):
            taking_part = set(map(id, decoding))
            rows = [row for row, run in enumerate(everyone) if id(run) in taking_part]
            logits = logits[rows]
        for run in decoding:
            run.filled += 1
        self.decoded += len(decoding)
        self._take(decoding, sample(logits, list(decoding)))

    def _take(self, runs: Sequence[Run], tokens: Sequence[int]) -> None:
        for run, token in zip(runs, tokens, strict=True):
            run.take(token, self.stop_ids)
