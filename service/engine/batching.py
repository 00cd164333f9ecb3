"""Continuous batching: sequences join and leave between steps, and every step is four verbs."""

import logging
from collections import abc
from collections.abc import Hashable, Iterable, Mapping
from time import monotonic

import numpy as np
import torch

from service.engine.detokenizer import Detokenizer
from service.engine.features import FeatureCache
from service.engine.pages import PAGE_TOKENS, PageTable, page_hashes
from service.engine.runner.protocol import Runner
from service.engine.sampler import NOT_A_TOKEN, generator_of, sample
from service.engine.scheduler import Chunk, Scheduler
from service.engine.sequence import Sequence
from service.engine.worker import Between, fault
from service.errors import EngineStopped

logger = logging.getLogger("capstan.engine")

# So many steps in a row without any that works are no fault of the requests.
FAILED_STEPS = 8


class BatchWorker:
    """See `Worker`."""

    def __init__(
        self,
        runner: Runner,
        *,
        tokenizer: object,
        stop_ids: frozenset[int],
        context_length: int,
        slots: int,
        cache_bytes: int,
        prefill_tokens: int,
        chunk_tokens: int,
        features: FeatureCache,
        page_tokens: int = PAGE_TOKENS,
    ) -> None:
        most = slots * -(-context_length // page_tokens)
        pages = min(cache_bytes // (runner.token_bytes * page_tokens), most)
        runner.allocate(pages, page_tokens)
        self.name = runner.name
        self.runner = runner
        self.table = PageTable(pages, page_tokens)
        self.longest = min(context_length, pages * page_tokens)
        self.cache_bytes = runner.token_bytes * pages * page_tokens
        self.slots = slots
        self.scheduler = Scheduler(
            self.table,
            slots=slots,
            step_tokens=prefill_tokens,
            chunk_tokens=chunk_tokens,
            clear=runner.clear,
        )
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.features = features
        self.prefilled = 0
        self.decoded = 0
        self._failed_steps = 0

    @property
    def waiting(self) -> int:
        """Sequences that do not run, preempted ones included."""
        return len(self.scheduler.waiting)

    @property
    def active(self) -> int:
        """Sequences that run."""
        return len(self.scheduler.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        sequence.generator = generator_of(sequence.request.sampling)
        sequence.detokenizer = Detokenizer(self.tokenizer, sequence.request.sampling.stop)
        sequence.page_hashes = page_hashes(sequence.prompt, sequence.image_keys, self.table.page_tokens)
        try:
            self.runner.begin(sequence)
        except Exception:
            logger.exception("a prompt could not be read")
            sequence.error = fault()
        self.scheduler.add(sequence)

    def running(self) -> Iterable[Sequence]:
        """The sequences that run."""
        return list(self.scheduler.running)

    def page_stats(self) -> dict[str, int]:
        """Pages of the cache and what became of them."""
        return {
            "pages_used": self.table.used,
            "pages_free": self.table.available,
            "preempted": self.scheduler.preempted,
            "prefix_tokens": self.table.shared_tokens,
        }

    def retire(self) -> list[Sequence]:
        """Free the pages of sequences that are done."""
        done = self.scheduler.retire()
        for sequence in done:
            sequence.inputs = sequence.features = None
        return done

    @torch.inference_mode()
    def step(self, between: Between) -> bool:  # noqa: ARG002 - a step is one token of a sequence
        """Schedule, run, sample, deliver; a batch that fails is done again, each sequence alone.

        Raises EngineStopped where the device has failed or nothing works any more.
        """
        chunks = self.scheduler.schedule()
        if not chunks:
            return False
        start = monotonic()
        if not self._attempt(chunks):
            # Not in the handler: its traceback would keep the tensors of the failed batch alive.
            worked = [len(chunks) > 1 and self._attempt([chunk]) for chunk in chunks]
            for chunk, one_worked in zip(chunks, worked, strict=True):
                if not one_worked:
                    chunk.sequence.error = fault()
            self._count(any(worked))
        _divide(chunks, start)
        return True

    def _attempt(self, chunks: abc.Sequence[Chunk]) -> bool:
        """Compute chunks and take their tokens; whether that worked."""
        try:
            self._see([chunk.sequence for chunk in chunks if _has_images(chunk)])
            logits = self.runner.run(chunks)  # [B, V]
            ended = [index for index, chunk in enumerate(chunks) if chunk.last]
            sequences = [chunks[index].sequence for index in ended]
            tokens = sample(logits if len(ended) == len(chunks) else logits[ended], sequences).tolist()
        except torch.AcceleratorError as error:
            raise EngineStopped(f"the device has failed: {error}") from error
        except Exception:
            logger.exception("a step with %d requests failed", len(chunks))
            return False
        for chunk in chunks:
            self._note(chunk)
        self._take(sequences, tokens)
        return True

    def _note(self, chunk: Chunk) -> None:
        if chunk.start < len(chunk.sequence.prompt):
            self.prefilled += chunk.end - chunk.start
        else:
            self.decoded += 1
        self.scheduler.computed(chunk)

    def _count(self, worked: bool) -> None:
        self._failed_steps = 0 if worked else self._failed_steps + 1
        if self._failed_steps >= FAILED_STEPS:
            raise EngineStopped(f"{self._failed_steps} steps in a row have failed; the log says why")

    def _see(self, sequences: abc.Sequence[Sequence]) -> None:
        """Compute the image features that are not known yet, all in one pass and each image once."""
        sequences = [sequence for sequence in sequences if sequence.features is None]
        for sequence in sequences:
            if sequence.inputs is not None and sequence.inputs.extra:
                sequence.features = self.runner.encode(sequence.inputs.extra)
                sequence.inputs = None
        sequences = [sequence for sequence in sequences if sequence.features is None]
        unseen: dict[Hashable, np.ndarray] = {}
        for sequence in sequences:
            unseen |= {key: tiles for key, tiles in _tiles(sequence) if self.features.peek(key) is None}
        found = dict(zip(unseen, self.runner.features(list(unseen.values())), strict=True)) if unseen else {}
        for sequence in sequences:
            sequence.features = self._features(sequence, found)
            sequence.inputs, sequence.known = None, []
        for key, values in found.items():
            self.features.put(key, values)

    def _features(self, sequence: Sequence, found: Mapping[Hashable, torch.Tensor]) -> torch.Tensor:
        """The features [N, H] of all images: just `found`, known for long, or come since."""
        images = list[torch.Tensor]()
        for key, known in zip(sequence.image_keys, sequence.known, strict=True):
            kept = known or self.features.peek(key)
            images.append(found[key] if kept is None else self.features.read(kept))
        return torch.cat(images) if len(images) > 1 else images[0]

    def _take(self, sequences: abc.Sequence[Sequence], tokens: abc.Sequence[int]) -> None:
        for sequence, token in zip(sequences, tokens, strict=True):
            try:
                if token == NOT_A_TOKEN:
                    raise FloatingPointError("the logits are not numbers")  # noqa: TRY301
                sequence.take(token, self.stop_ids)
            except Exception:
                logger.exception("a token could not be taken")
                sequence.error = fault()


def _divide(chunks: abc.Sequence[Chunk], start: float) -> None:
    """Charge the time of a step to its sequences, by their tokens."""
    part = (monotonic() - start) / sum(chunk.end - chunk.start for chunk in chunks)
    for chunk in chunks:
        timeline = chunk.sequence.timeline
        timeline.compute += part * (chunk.end - chunk.start)
        timeline.running = timeline.running or start


def _has_images(chunk: Chunk) -> bool:
    """Whether image features go into a chunk."""
    where = chunk.sequence.image_positions
    return bool(len(where)) and chunk.start <= where[-1] and chunk.end > where[0]


def _tiles(sequence: Sequence) -> Iterable[tuple[Hashable, np.ndarray]]:
    """The key and the tiles [T, H, W, 3] of every image of a sequence that had to be cut."""
    if sequence.inputs is None:
        return ()
    unknown = (key for key, known in zip(sequence.image_keys, sequence.known, strict=True) if known is None)
    return zip(unknown, sequence.inputs.tiles, strict=True)
