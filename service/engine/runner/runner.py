"""A model that computes many sequences together over a paged cache.

Letters of the shape comments in this folder: B sequences of a batch, S its tokens, R those with logits, T
tiles, P patches of a tile (and its class token), C vision channels, H text channels, A query heads,
K key-value heads, D channels of a head, I inner channels of a feed-forward network, N image tokens, V
vocabulary.
"""

from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Mapping

import numpy as np
import torch

from service.engine.attention.backend import Attention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache, CacheShape
from service.engine.attention.sdpa import SdpaAttention
from service.engine.attention.varlen import VarlenAttention
from service.engine.runner.packing import batch_of, in_order, like_with_like
from service.engine.runner.pixels import joined
from service.engine.runner.vision import Vision
from service.engine.scheduler import Chunk


class Runner(ABC):
    """What an executor asks of a model, and what all ways of running one share. Called by one thread alone.

    `flash` chooses the backend of attention, `vision` sees tiles. `context_limit` is that of a sequence in
    tokens, where that is less than the model's own.
    """

    name: str

    def __init__(
        self, shape: CacheShape, *, flash: bool, vision: Vision | None, context_limit: int | None = None
    ) -> None:
        self.shape = shape
        self.flash = flash
        self.vision = vision
        self.context_limit = context_limit
        self.allocate(1, 1)

    def allocate(self, pages: int, page_tokens: int) -> None:
        """Make the cache; forgets what an earlier one held."""
        self.cache = Cache(self.shape, pages, page_tokens, by_head=not self.flash)
        self.attention: Attention = VarlenAttention(self.cache) if self.flash else SdpaAttention(self.cache)

    def clear(self, page: int) -> None:
        """Zero a page of the cache."""
        self.cache.clear(page)

    @abstractmethod
    def capture(self, most: int) -> None:
        """Record what can be recorded for up to `most` sequences that decode together."""

    @abstractmethod
    def encode(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features [N, F] of all images of a prompt whose pixels the checkpoint's own processor made."""

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images, each its tiles as uint8 [T, H, W, 3] in and [N, H] out."""
        if self.vision is None:
            raise RuntimeError("tiles came for a model whose own processor makes its pixels")
        found = self.vision(joined(images, self.shape.device))  # [T, image tokens a tile, H]
        return [part.flatten(0, 1) for part in found.split([len(tiles) for tiles in images])]  # each [N, H]

    def run(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Compute chunks, prompts and answers alike; logits [R, V] in their order, as of `Batch.last`."""
        order = like_with_like(chunks)
        chunks = [chunks[index] for index in order]
        batch = self._batch(chunks)
        return in_order(self._run(chunks, batch), order, batch.outputs)

    def _batch(self, chunks: abc.Sequence[Chunk]) -> Batch:
        return batch_of(chunks, self.cache.page_tokens)

    @abstractmethod
    def _run(self, chunks: abc.Sequence[Chunk], batch: Batch) -> torch.Tensor:
        """Compute chunks in the order of the batch."""
