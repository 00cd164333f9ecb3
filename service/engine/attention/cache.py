"""The key-value cache: for each layer one tensor of keys and one of values, divided into pages."""

from dataclasses import dataclass

import torch


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
    """Keys and values of each layer, allocated once.

    Each is [pages, page_tokens, K, D], or [pages, K, page_tokens, D] where `by_head`: the backend's choice.
    """

    def __init__(self, shape: CacheShape, pages: int, page_tokens: int, *, by_head: bool) -> None:
        self.shape = shape
        self.page_tokens = page_tokens
        page = (shape.heads, page_tokens) if by_head else (page_tokens, shape.heads)
        size = (pages, *page, shape.channels)
        # Zeros, not whatever was there: a NaN would survive the mask of attention.
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    def clear(self, page: int) -> None:
        """Zero a page in which a NaN may be."""
        for layer in (*self.keys, *self.values):
            layer[page] = 0
