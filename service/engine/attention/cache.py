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
    Those by head are the halves of one tensor a layer, `cells` [pages, 2K, page_tokens, D], so that one copy
    writes both.
    """

    def __init__(self, shape: CacheShape, pages: int, page_tokens: int, *, by_head: bool) -> None:
        self.shape = shape
        self.page_tokens = page_tokens
        heads = 2 * shape.heads if by_head else shape.heads
        page = (heads, page_tokens) if by_head else (page_tokens, heads)
        # Zeros, not whatever was there: a NaN would survive the mask of attention.
        cells = [
            torch.zeros((pages, *page, shape.channels), dtype=shape.dtype, device=shape.device)
            for _ in range(shape.layers)
        ]
        self.cells = cells
        # Masks of a page: row n shows its first n tokens, and hides the others by minus infinity.
        hidden = torch.full(
            (page_tokens + 1, page_tokens), float("-inf"), dtype=shape.dtype, device=shape.device
        )
        self.ends = hidden.triu_()
        self.keys = [layer[:, : shape.heads] for layer in cells] if by_head else cells
        self.values = [layer[:, shape.heads :] if by_head else torch.zeros_like(layer) for layer in cells]

    def clear(self, page: int) -> None:
        """Zero a page in which a NaN may be."""
        for layer in (*self.keys, *self.values):
            layer[page] = 0
