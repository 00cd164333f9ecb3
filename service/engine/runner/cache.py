"""The key-value cache: for each pool and layer, keys and values of every row."""

from dataclasses import dataclass

import torch

from service.engine.pools import Place, PoolPlan


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a cached token is: `heads` key-value heads of `channels` channels in each of `layers` layers."""

    layers: int
    heads: int
    channels: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of one token."""
        return 2 * self.layers * self.heads * self.channels * self.dtype.itemsize


class Cache:
    """Keys and values: `keys[pool][layer]` is [rows, K, capacity, D]."""

    def __init__(self, shape: CacheShape, plans: tuple[PoolPlan, ...]) -> None:
        def pool(plan: PoolPlan) -> list[torch.Tensor]:
            size = (plan.rows, shape.heads, plan.capacity, shape.channels)
            # Zeros, not whatever lay there: a NaN would survive the mask of attention.
            return [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]

        self.keys = [pool(plan) for plan in plans]
        self.values = [pool(plan) for plan in plans]

    def move(self, source: Place, target: Place) -> None:
        """Copy a row onto another of the same pool."""
        for store in (self.keys, self.values):
            for layer in store[source.pool]:
                layer[target.row] = layer[source.row]
