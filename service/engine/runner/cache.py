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
    """Keys and values side by side: `entries[pool][layer]` is [rows, 2K, capacity, D], the keys first.

    A sequence is a row of it, so that reading the rows in use is a view; a paged cache would have to gather
    its blocks at every layer of every step, which on the CPU costs more than attention itself.
    """

    def __init__(self, shape: CacheShape, plans: tuple[PoolPlan, ...]) -> None:
        self.shape = shape

        def pool(plan: PoolPlan) -> list[torch.Tensor]:
            size = (plan.rows, 2 * shape.heads, plan.capacity, shape.channels)
            # Zeros, not whatever lay there: a NaN would survive the mask of attention.
            return [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]

        self.entries = [pool(plan) for plan in plans]

    def capacity(self, pool: int) -> int:
        """Tokens that a row of a pool holds."""
        return self.entries[pool][0].shape[2]

    def rows(self, pool: int, layer: int, rows: slice, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, K, L, D] of some rows, as views."""
        kept = self.entries[pool][layer][rows, :, :length]  # [B, 2K, L, D]
        keys, values = kept.chunk(2, 1)
        return keys, values

    def places(self, pool: int, positions: torch.Tensor) -> torch.Tensor:
        """Where the token at positions [B] of the first rows stands, for `write`: [B * 2K]."""
        heads = 2 * self.shape.heads
        first = torch.arange(len(positions) * heads, device=positions.device).view(-1, heads)  # [B, 2K]
        return (first * self.capacity(pool) + positions[:, None]).flatten()

    def write(self, pool: int, layer: int, places: torch.Tensor, new: torch.Tensor) -> None:
        """Put keys and values [B, 2K, D] of one token a row where `places` says."""
        channels = self.shape.channels
        self.entries[pool][layer].view(-1, channels).index_copy_(0, places, new.reshape(-1, channels))

    def move(self, source: Place, target: Place) -> None:
        """Copy a row onto another of the same pool."""
        for layer in self.entries[source.pool]:
            layer[target.row] = layer[source.row]
