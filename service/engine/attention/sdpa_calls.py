"""The calls of torch's SDPA that a step on the CPU is made of: one for each way in which sequences lie.

Letters: B sequences, R rows of a view, S tokens of the batch, L cached tokens, A query heads, K key-value
heads, G = A / K, D channels of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache

# A view may have this many rows for each one that is read; beyond, pages are gathered.
SPARSEST = 2
# A view is a multiple of this many tokens long: attention over a rest shorter than a vector is slow.
LENGTH_STEP = 16


@dataclass
class FreshPrompts:
    """Prompts from their beginning, all of one length: `count` of them at `rows` of the batch."""

    rows: slice
    count: int

    def __call__(
        self,
        query: torch.Tensor,
        cells: torch.Tensor,  # noqa: ARG002 - the new ones are all there are
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with the queries [S, A, D] of these prompts: [S, A, D]."""
        query, key, value = map(self._apart, (query, key[self.rows], value[self.rows]))
        out = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=True
        )  # [B, A, S, D]
        return out.transpose(1, 2).flatten(0, 1)

    def _apart(self, packed: torch.Tensor) -> torch.Tensor:
        """Packed tokens as [B, heads, S, D]."""
        found: torch.Tensor = packed.unflatten(0, (self.count, -1)).transpose(1, 2)
        return found


class PageRows:
    """One token of each of many sequences that fit in a page each: the pages are the rows of a view."""

    def __init__(self, cache: Cache, pages: Sequence[int], lengths: Sequence[int]) -> None:
        heads, channels, size = cache.shape.heads, cache.shape.channels, cache.page_tokens
        device = cache.shape.device
        first, count, length = min(pages), max(pages) - min(pages) + 1, max(lengths)
        if len(pages) > 1:
            length = min(size, -(-length // LENGTH_STEP) * LENGTH_STEP)
        self.copied = page_rows(pages, cache).ravel() if count > SPARSEST * len(pages) else None
        self.count = count if self.copied is None else len(pages)
        order = [page - first for page in pages] if self.copied is None else list(range(len(pages)))
        token = heads * channels
        self.shape = (self.count, heads, length, channels)
        self.strides = (2 * size * token, size * channels, channels, 1)
        self.begin = (2 * first * size * token, (2 * first + 1) * size * token)
        self.rows = None if order == list(range(self.count)) else torch.tensor(order, device=device)
        self.mask: torch.Tensor | None = None
        if self.count > len(pages) or min(lengths) < length:
            ends = np.ones(self.count, np.int64)
            ends[order] = lengths
            seen = cache.ends[:, :length].index_select(0, torch.from_numpy(ends).to(device))  # [R, L]
            self.mask = seen[:, None, None]  # [R, 1, 1, L]

    def __call__(
        self,
        query: torch.Tensor,
        cells: torch.Tensor,
        key: torch.Tensor,  # noqa: ARG002 - it is cached
        value: torch.Tensor,  # noqa: ARG002
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with the query of one token of each sequence: [B, A, D] in and out."""
        shape = query.shape
        if self.rows is not None:
            query = query.new_zeros(self.count, *shape[1:]).index_copy_(0, self.rows, query)  # [R, A, D]
        # The query heads that share a key head stand as queries of one head.
        query = query.reshape(self.count, self.shape[1], -1, shape[-1])  # [R, K, G, D]
        keys, values = self._read(cells)
        out = scaled_dot_product_attention(
            query, keys, values, attn_mask=self.mask, scale=scale
        )  # [R, K, G, D]
        out = out.reshape(self.count, *shape[1:])
        return out if self.rows is None else out.index_select(0, self.rows)

    def _read(self, cells: torch.Tensor) -> list[torch.Tensor]:
        """Keys and values, each [R, K, L, D]."""
        if self.copied is None:
            return [cells.as_strided(self.shape, self.strides, begin) for begin in self.begin]
        count, heads, length, channels = self.shape
        both = copied(cells, self.copied, length).view(count, 2 * heads, length, channels)  # [B, 2K, L, D]
        return [both[:, :heads], both[:, heads:]]


class CachedSequence:
    """New tokens of one sequence over all that is cached of it."""

    def __init__(
        self, cache: Cache, batch: Batch, i: int, mask: torch.Tensor | None, softcap: float | None = None
    ) -> None:
        self.length, self.mask, self.softcap = batch.lengths[i], mask, softcap
        self.heads = cache.shape.heads
        pages = batch.pages[i][: -(-self.length // cache.page_tokens)]
        self.page = pages[0]
        # By head, then by page, so that the pages of a head are one after the other in the copy.
        self.copied = page_rows(pages, cache).T.ravel() if len(pages) > 1 else None

    def __call__(
        self,
        query: torch.Tensor,
        cells: torch.Tensor,
        key: torch.Tensor,  # noqa: ARG002 - it is cached
        value: torch.Tensor,  # noqa: ARG002
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with the new tokens' queries [S, A, D], or with the last one's: as many out."""
        keys, values = self._read(cells).split(self.heads)  # each [K, L, D]
        if self.softcap is not None and self.mask is not None:
            return _capped(query, keys, values, self.mask, self.softcap, scale)
        if len(query) == 1 and self.mask is None:
            grouped = query.view(self.heads, -1, query.shape[-1])  # [K, G, D]
            return scaled_dot_product_attention(grouped, keys, values, scale=scale).reshape(query.shape)
        out = scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            keys[None],
            values[None],
            attn_mask=self.mask,
            scale=scale,
            enable_gqa=True,
        )  # [1, A, S, D]
        return out[0].transpose(0, 1)

    def _read(self, cells: torch.Tensor) -> torch.Tensor:
        """Keys, then values: [2K, L, D]."""
        if self.copied is None:
            return cells[self.page, :, : self.length]
        whole = copied(cells, self.copied, cells.shape[2])
        return whole.view(2 * self.heads, -1, cells.shape[3])[:, : self.length]


def page_rows(pages: Sequence[int], cache: Cache) -> torch.Tensor:
    """Where the heads of pages are among those of all pages: [pages, 2K]."""
    heads = 2 * cache.shape.heads
    rows = np.array(pages)[:, None] * heads + np.arange(heads)
    return torch.from_numpy(rows).to(cache.shape.device)


def copied(cells: torch.Tensor, rows: torch.Tensor, length: int) -> torch.Tensor:
    """The first `length` tokens of those heads of pages that `rows` [N] names: [N, length * D].

    Selecting rows of a matrix takes a quarter of the time that indexing the cells [pages, 2K, L, D] does.
    """
    return cells.flatten(2).flatten(0, 1)[:, : length * cells.shape[3]].index_select(0, rows)


def _capped(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    softcap: float,
    scale: float | None,
) -> torch.Tensor:
    """Query [S, A, D] over keys and values [K, L, D], scores capped as Gemma 2 does: [S, A, D]."""
    groups = query.shape[1] // len(keys)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)  # [A, L, D]
    scores: torch.Tensor = query.transpose(0, 1) @ keys.transpose(1, 2) * scale  # [A, S, L]
    scores = torch.tanh(scores / softcap) * softcap + mask
    return (scores.softmax(-1) @ values).transpose(0, 1)


def additive_mask(seen: torch.Tensor, cache: Cache) -> torch.Tensor:
    """0 where a token is seen and minus infinity elsewhere, in the cache's type."""
    mask = torch.zeros(seen.shape, dtype=cache.shape.dtype).masked_fill_(~seen, float("-inf"))
    return mask.to(cache.shape.device)


def causal_mask(start: int, count: int, cache: Cache) -> torch.Tensor:
    """For tokens after others: all that is cached, and the new ones up to each. [S, L]."""
    mask = torch.full(
        (count, start + count), float("-inf"), dtype=cache.shape.dtype, device=cache.shape.device
    )
    return mask.triu_(start + 1)
