"""What the engine's loop needs of a model.

Letters of the shape comments in this folder: B sequences of a batch, S its tokens, R those with logits, T
tiles, P patches of a tile (and its class token), C vision channels, H text channels, A query heads,
K key-value heads, D channels of a head, I inner channels of a feed-forward network, N image tokens, V
vocabulary.
"""

from collections import abc
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from service.engine.scheduler import Chunk


class Runner(Protocol):
    """A model that computes many sequences together over a paged cache."""

    name: str
    token_bytes: int
    context_limit: int | None  # tokens of the longest sequence, where that is less than the model's own

    def allocate(self, pages: int, page_tokens: int) -> None:
        """Make the cache; forgets what an earlier one held."""
        ...

    def clear(self, page: int) -> None:
        """Zero a page of the cache."""
        ...

    def capture(self, most: int) -> None:
        """Record what can be recorded for up to `most` sequences that decode together."""
        ...

    def encode(self, extra: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Features [N, F] of all images of a prompt whose pixels the checkpoint's own processor made."""
        ...

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images, each its tiles as uint8 [T, H, W, 3] in and [N, H] out."""
        ...

    def run(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Compute chunks, prompts and answers alike; logits [R, V] as of `Batch.last`."""
        ...
