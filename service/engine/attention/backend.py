"""What runners ask of attention.

Letters: S tokens of a batch, R those with logits, A query heads, K key-value heads, D channels of a head.
"""

from typing import Protocol

import torch

from service.engine.attention.batch import Batch


class LayerAttention(Protocol):
    """Attention of the layers of one step."""

    def __call__(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
        last: bool = False,
    ) -> torch.Tensor:
        """Cache key and value [S, K, D], then attend with query [S, A, D] to each one's sequence: [S, A, D].

        A token sees itself and those before it, of the last `window` alone where one is given. With `last`
        the query is of `Batch.last` alone: [R, A, D] in and out.
        """
        ...


class Attention(Protocol):
    """A backend over the cache of one model."""

    def begin(self, batch: Batch) -> LayerAttention:
        """Plan a step; what it returns is good for this step's layers."""
        ...
