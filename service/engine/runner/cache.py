"""The key-value cache: for each layer one tensor, of which pools are views."""

from dataclasses import dataclass

import torch

from service.engine.pools import Place, Pool


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
    """Keys and values side by side: of a pool each layer is [rows, 2K, capacity, D], the keys first.

    A sequence is a row of it, so that reading the rows in use is a view; a paged cache would have to gather
    its blocks at every layer of every step, which on the CPU costs more than attention itself. Its memory is
    allocated once and stays where it is, whatever pools come and go.
    """

    def __init__(self, shape: CacheShape, tokens: int) -> None:
        self.shape = shape
        size = (tokens * 2 * shape.heads, shape.channels)
        # Zeros, not whatever lay there: a NaN would survive the mask of attention.
        self._layers = [
            torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)
        ]

    def entries(self, pool: Pool) -> list[torch.Tensor]:
        """The layers of a pool, each [rows, 2K, capacity, D]."""
        heads = 2 * self.shape.heads
        first, count = pool.start * heads, pool.rows * pool.capacity * heads
        size = (pool.rows, heads, pool.capacity, self.shape.channels)
        return [layer.narrow(0, first, count).view(size) for layer in self._layers]

    def rows(
        self, pool: Pool, layer: int, first: int, count: int, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, K, L, D] of `count` rows from `first` on, as views."""
        heads, channels = self.shape.heads, self.shape.channels
        size = (count, heads, length, channels)
        half = heads * pool.capacity * channels
        strides = (2 * half, pool.capacity * channels, channels, 1)
        begin = 2 * heads * channels * pool.start + 2 * half * first
        whole = self._layers[layer]
        return whole.as_strided(size, strides, begin), whole.as_strided(size, strides, begin + half)

    def places(self, pool: Pool, positions: torch.Tensor) -> torch.Tensor:
        """Where the token at positions [B] of the first rows stands, for `write`: [B * 2K]."""
        heads = 2 * self.shape.heads
        first = torch.arange(len(positions) * heads, device=positions.device).view(-1, heads)  # [B, 2K]
        return (pool.start * heads + first * pool.capacity + positions[:, None]).flatten()

    def write(self, layer: int, places: torch.Tensor, new: torch.Tensor) -> None:
        """Put keys and values [B, 2K, D] of one token a row where `places` says."""
        self._layers[layer].index_copy_(0, places, new.reshape(-1, self.shape.channels))

    def move(self, source: Place, target: Place, length: int) -> None:
        """Copy the first `length` tokens of a row onto another of the same pool."""
        for layer in self.entries(source.pool):
            layer[target.row, :, :length] = layer[source.row, :, :length]
