"""Continuous batching: requests join and leave between steps, and every step is four verbs."""

import logging
from collections import abc
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import numpy as np
import torch

from service.engine.detokenizer import Detokenizer
from service.engine.features import FeatureCache
from service.engine.pools import Pools, capacities
from service.engine.runner.protocol import BatchRunner
from service.engine.sampler import generator_of, sample
from service.engine.schedule import Chunk, Scheduler
from service.engine.sequence import Sequence
from service.engine.worker import Between, fault

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
        chunk_tokens: int,
        features: FeatureCache,
    ) -> None:
        tokens = min(cache_bytes // runner.token_bytes, slots * context_length)
        runner.allocate(tokens)
        self.name = runner.name
        self.runner = runner
        self.pools = Pools(tokens, capacities(min(context_length, tokens)), rows=slots)
        self.longest = self.pools.largest
        self.cache_bytes = runner.token_bytes * tokens
        self.slots = min(slots, tokens // self.pools.capacities[0])
        self.schedule = Scheduler(
            self.pools,
            slots=slots,
            prefill_tokens=prefill_tokens,
            chunk_tokens=chunk_tokens,
            move=runner.move,
        )
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

    def add(self, run: Sequence) -> None:
        """Queue a run."""
        run.generator = generator_of(run.request.sampling)
        run.detokenizer = Detokenizer(self.tokenizer, run.request.sampling.stop)
        self.schedule.add(run)

    def running(self) -> Iterable[Sequence]:
        """The runs with a row."""
        return [run for pool in self.schedule.running for run in pool]

    def retire(self) -> list[Sequence]:
        """Free the rows of runs that are done."""
        return self.schedule.retire()

    @torch.inference_mode()
    def step(self, between: Between) -> bool:  # noqa: ARG002 - a step is at most two tokens of a run
        """Admit, choose chunks, prefill, decode."""
        self.schedule.admit()
        chunks = self.schedule.chunks()
        if chunks:
            self._prefill(chunks)
        decoding = [run for pool in self.schedule.running for run in pool if run.answer and not run.done]
        if decoding:
            self._guard(self._decode, decoding, decoding)
        return bool(chunks or decoding)

    def _guard(
        self, verb: Callable[[abc.Sequence[W]], None], work: abc.Sequence[W], runs: abc.Sequence[Sequence]
    ) -> None:
        """Do a verb; what it throws ends the runs that took part, never the loop."""
        try:
            verb(work)
        except Exception:
            logger.exception("a step with %d requests failed", len(runs))
            for run in runs:
                run.error = fault()

    def _prefill(self, chunks: abc.Sequence[Chunk]) -> None:
        """Read chunks together, or each alone where one of them spoils it for all."""
        try:
            self._read(chunks)
        except Exception:
            logger.exception("%d prompts could not be read together; now each alone", len(chunks))
            for chunk in chunks:
                self._guard(self._read, [chunk], [chunk.run])

    def _read(self, chunks: abc.Sequence[Chunk]) -> None:
        self._see([chunk.run for chunk in chunks if chunk.start == 0])
        logits = self.runner.prefill(chunks)  # [B, V]
        ended = [index for index, chunk in enumerate(chunks) if chunk.last]
        runs = [chunks[index].run for index in ended]
        tokens = sample(logits if len(ended) == len(chunks) else logits[ended], runs)
        for chunk in chunks:
            chunk.run.filled = chunk.end
            self.prefilled += chunk.end - chunk.start
            if chunk.last:  # what was read is in the cache; 13 tiles of an 8B model are 27 MB
                chunk.run.features = None
        self._take(runs, tokens)

    def _see(self, runs: abc.Sequence[Sequence]) -> None:
        """Compute the image features that are not known yet, all in one pass and each image once."""
        runs = [run for run in runs if run.image_keys and run.features is None]
        unseen: dict[Hashable, np.ndarray] = {}
        for run in runs:
            unseen |= {key: tiles for key, tiles in _tiles(run) if self.features.peek(key) is None}
        found = dict(zip(unseen, self.runner.features(list(unseen.values())), strict=True)) if unseen else {}
        for run in runs:
            run.features = self._features(run, found)
            run.inputs, run.known = None, []
        for key, values in found.items():
            self.features.put(key, values)

    def _features(self, run: Sequence, found: Mapping[Hashable, torch.Tensor]) -> torch.Tensor:
        """The features [N, H] of all images of a run: just `found`, known for long, or come since."""
        images = list[torch.Tensor]()
        for key, known in zip(run.image_keys, run.known, strict=True):
            kept = known or self.features.peek(key)
            images.append(found[key] if kept is None else self.features.read(kept))
        return torch.cat(images) if len(images) > 1 else images[0]

    def _decode(self, decoding: abc.Sequence[Sequence]) -> None:
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

    def _take(self, runs: abc.Sequence[Sequence], tokens: abc.Sequence[int]) -> None:
        for run, token in zip(runs, tokens, strict=True):
            try:
                run.take(token, self.stop_ids)
            except Exception:
                logger.exception("a token could not be taken")
                run.error = fault()


def _tiles(run: Sequence) -> Iterable[tuple[Hashable, np.ndarray]]:
    """The key and the tiles [T, H, W, 3] of every image of a run that had to be cut."""
    if run.inputs is None:
        return ()
    unknown = (key for key, known in zip(run.image_keys, run.known, strict=True) if known is None)
    return zip(unknown, run.inputs.tiles, strict=True)
