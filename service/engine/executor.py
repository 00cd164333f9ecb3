"""What the ranks compute of a step: the features of new images, then all tokens."""

import logging
import time
from collections import abc
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist

from service.engine.features import FeatureShape, FeatureStore
from service.engine.ranks.channel import Channel, readable
from service.engine.ranks.messages import (
    Add,
    ClearPage,
    Drop,
    FromPeer,
    PlannedChunk,
    Step,
    StepFailed,
    ToPeer,
)
from service.engine.ranks.sequences import sequence_of
from service.engine.runner.runner import Runner
from service.engine.scheduler import Chunk
from service.engine.sequence import Sequence
from service.errors import EngineStopped

logger = logging.getLogger("capstan.engine")

# If a step fails on one rank, it fails on the others within this time, or they wait for that one forever.
AGREE_SECONDS = 4.0
IDLE_SECONDS = 3600.0

Leader = Channel[ToPeer, FromPeer]
Peer = Channel[FromPeer, ToPeer]


class Executor(Protocol):
    """Computes steps."""

    def compute(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Logits [R, V] after the last token of each chunk, and before each token of its draft."""
        ...

    def clear(self, page: int) -> None:
        """Zero a page of the key-value cache."""
        ...

    def drop(self, sequence: Sequence) -> None:
        """Let go of a sequence that has ended."""
        ...


class LocalExecutor:
    """See `Executor`. The runner of this process, which is one rank of `ranks`."""

    def __init__(self, runner: Runner, features: FeatureStore, shape: FeatureShape | None = None) -> None:
        self.runner = runner
        self.features = features
        self.shape = shape
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1

    def compute(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """See `Executor`."""
        self._see([chunk.sequence for chunk in chunks if _has_images(chunk)])
        return self.runner.run(chunks)

    def clear(self, page: int) -> None:
        """Zero a page."""
        self.runner.clear(page)

    def drop(self, sequence: Sequence) -> None:
        """Let go of tensors."""
        sequence.release()

    def _see(self, sequences: abc.Sequence[Sequence]) -> None:
        """Get the image features of sequences: new ones all in one pass, and each image once."""
        sequences = [sequence for sequence in sequences if sequence.features is None]
        for sequence in sequences:
            if sequence.extra:
                sequence.features = self.runner.encode(sequence.extra)
                sequence.images, sequence.extra = (), {}
        sequences = [sequence for sequence in sequences if sequence.features is None]
        unseen: dict[object, np.ndarray] = {
            image.key: image.tiles
            for sequence in sequences
            for image in sequence.images
            if image.tiles is not None and not self.features.holds(image.key, image.pages)
        }
        found = dict(zip(unseen, self._features(list(unseen.values())), strict=True)) if unseen else {}
        for sequence in sequences:
            images = [
                found[image.key] if image.key in found else self.features.read(image.pages)
                for image in sequence.images
            ]
            sequence.features = torch.cat(images) if len(images) > 1 else images[0]
        for image in (image for sequence in sequences for image in sequence.images):
            if image.pages and image.key in found and not self.features.holds(image.key, image.pages):
                self.features.write(image.key, image.pages, found[image.key])
        for sequence in sequences:
            sequence.images = ()

    def _features(self, images: list[np.ndarray]) -> list[torch.Tensor]:
        """Features of images, each [N, H]; every rank computes its part of the tiles."""
        shape, counts = self.shape, [len(tiles) for tiles in images]
        if self.ranks == 1 or shape is None:
            return self.runner.features(images)
        part = -(-sum(counts) // self.ranks)
        own = np.concatenate(images)[dist.get_rank() * part :][:part]  # [T, height, width, 3]
        size = (part, shape.tokens, shape.channels)
        mine = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        if len(own):
            mine[: len(own)] = self.runner.features([own])[0].view(len(own), *size[1:])
        every = mine.new_empty(self.ranks * part, *size[1:])
        dist.all_gather_into_tensor(every, mine)
        return [tiles.flatten(0, 1) for tiles in every[: sum(counts)].split(counts)]


class LeadingExecutor:
    """See `Executor`. Rank 0 of several, which has the others compute the same step."""

    def __init__(self, local: LocalExecutor, peers: abc.Sequence[Peer]) -> None:
        self.local = local
        self.peers = peers
        self._step = 0
        self._tokens: dict[int, int] = {}  # of each sequence's answer that the others have
        self._failed_since: float | None = None

    def forward(self, message: Add, descriptor: int | None) -> None:
        """Pass a new sequence on."""
        for peer in self.peers:
            peer.send(message, descriptor)

    def compute(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """See `Executor`. Raises EngineStopped if the ranks disagree."""
        self._step += 1
        self._tell(Step(self._step, tuple(map(self._planned, chunks))))
        failed = False
        try:
            return self.local.compute(chunks)
        except Exception:
            failed = True
            raise
        finally:
            if failed:
                self._agree()

    def lost(self) -> str | None:
        """Why no later step can work, if another rank failed alone; safe to ask from another thread."""
        if not readable(list(self.peers), 0.0):
            self._failed_since = None
            return None
        self._failed_since = self._failed_since or time.monotonic()
        if time.monotonic() - self._failed_since < AGREE_SECONDS:
            return None
        return "a step failed on some ranks alone, so they are out of step"

    def clear(self, page: int) -> None:
        """Zero a page on all ranks."""
        self._tell(ClearPage(page))
        self.local.clear(page)

    def drop(self, sequence: Sequence) -> None:
        """Let go of a sequence on all ranks."""
        self._tokens.pop(sequence.number, None)
        self._tell(Drop(sequence.number))
        self.local.drop(sequence)

    def _planned(self, chunk: Chunk) -> PlannedChunk:
        sequence = chunk.sequence
        known = self._tokens.get(sequence.number, 0)
        self._tokens[sequence.number] = len(sequence.answer)
        return PlannedChunk(
            sequence.number, chunk.start, chunk.end, sequence.pages, sequence.answer[known:], chunk.draft
        )

    def _tell(self, message: ToPeer) -> None:
        try:
            for peer in self.peers:
                peer.send(message)
        except OSError as error:
            raise EngineStopped("a rank takes no more steps") from error

    def _agree(self) -> None:
        """Wait until the step has failed on every rank. Raises EngineStopped if it has not."""
        waiting, deadline = list(self.peers), time.monotonic() + AGREE_SECONDS
        while waiting and time.monotonic() < deadline:
            for peer in readable(waiting, deadline - time.monotonic()):
                try:
                    message, _ = peer.receive(0)
                except (EOFError, TimeoutError):
                    raise EngineStopped("a rank has ended within a step") from None
                if message.step == self._step:
                    waiting.remove(peer)
        if waiting:
            raise EngineStopped(f"step {self._step} failed on some ranks alone, so they are out of step")


def follow(local: LocalExecutor, leader: Leader, image_token: int | None) -> None:
    """Compute what rank 0 plans, until it closes its end."""
    sequences: dict[int, Sequence] = {}
    while True:
        try:
            message, descriptor = leader.receive(IDLE_SECONDS)
        except TimeoutError:
            continue
        except EOFError:
            return
        if isinstance(message, Add):
            sequences[message.number] = sequence_of(message, descriptor, image_token)
        elif isinstance(message, Step):
            if not _computed(local, [_chunk(planned, sequences) for planned in message.chunks]):
                leader.send(StepFailed(message.step))
        elif isinstance(message, ClearPage):
            local.clear(message.page)
        else:
            local.drop(sequences.pop(message.number))


def _chunk(planned: PlannedChunk, sequences: dict[int, Sequence]) -> Chunk:
    sequence = sequences[planned.number]
    sequence.pages = planned.pages
    sequence.answer += planned.tokens
    return Chunk(sequence, planned.start, planned.end, planned.draft)


@torch.inference_mode()
def _computed(local: LocalExecutor, chunks: abc.Sequence[Chunk]) -> bool:
    try:
        local.compute(chunks)
    except torch.AcceleratorError:
        raise
    except Exception:
        logger.exception("a step failed")
        return False
    return True


def _has_images(chunk: Chunk) -> bool:
    """Whether image features go into a chunk."""
    where = chunk.sequence.image_positions
    return bool(len(where)) and chunk.start <= where[-1] and chunk.end > where[0]
