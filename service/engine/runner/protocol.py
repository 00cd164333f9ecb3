"""What the engine's loop needs of a model.

Letters of the shape comments in this folder: B rows of a batch, S tokens of the longest row, T tiles,
P patches of a tile (and its class token), C vision channels, H text channels, A query heads, K key-value
heads, G = A / K query heads a key-value head, D channels of a head, L cached tokens, I inner channels of a
feed-forward network, V vocabulary.
"""

from collections import abc
from typing import Protocol

import numpy as np
import torch

from service.engine.pools import Place
from service.engine.schedule import Chunk
from service.engine.sequence import Sequence


class BatchRunner(Protocol):
    """A model that decodes many sequences together, each in its row of a cache."""

    name: str
    token_bytes: int

    def allocate(self, tokens: int) -> None:
        """Make the cache; forgets what an earlier one held."""
        ...

    def move(self, source: Place, target: Place, length: int) -> None:
        """Copy the first `length` tokens of a row of the cache onto another of its pool."""
        ...

    def features(self, images: abc.Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features of images, each its tiles as uint8 [T, H, W, 3] in and [N, H] out, N image tokens."""
        ...

    def prefill(self, chunks: abc.Sequence[Chunk]) -> torch.Tensor:
        """Read chunks of prompts into the cache; logits [B, V] after the last token of each."""
        ...

    def decode(self, running: abc.Sequence[abc.Sequence[Sequence]]) -> torch.Tensor:
        """Write the last token of every run into the cache; logits [B, V] of the next.

        `running` lists the runs of each pool that has any, in the order of their rows. Runs whose prompt is
        not read yet take part, since rows are read as one view: their logits mean nothing and what they write
        is overwritten by the next chunk.
        """
        ...
