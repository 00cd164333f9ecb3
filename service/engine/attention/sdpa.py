"""The backend for the CPU, and for what `varlen` cannot do: torch's SDPA on views of the cache.

In a page the tokens of each head are neighbours. Sequences that fit in a page each are the rows of one view
of the cache; the pages of a longer one are gathered. Gathering the short ones too would cost as much as
attention itself.

Letters: B sequences, R rows of a view, S tokens of the batch, L cached tokens, A query heads, K key-value
heads, G = A / K, D channels of a head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache
from service.engine.attention.protocol import LayerAttention

# A view may have this many rows for each one that is read; beyond, pages are gathered.
SPARSEST = 2
# A view is a multiple of this many tokens long: attention over a rest shorter than a vector is slow.
LENGTH_STEP = 16

Rows = slice | torch.Tensor
Part = tuple[Rows, Callable[..., torch.Tensor]]


class SdpaAttention:
    """See `Attention`."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def begin(self, batch: Batch) -> LayerAttention:
        """Plan a step."""
        return _Step(self.cache, batch)


class _Step:
    def __init__(self, cache: Cache, batch: Batch) -> None:
        self.cache = cache
        self.batch = batch
        self.device = cache.shape.device
        heads, size = 2 * cache.shape.heads, cache.page_tokens
        page, token = np.divmod(batch.slots[:, None], size)  # each [S, 1]
        places = ((page * heads + np.arange(heads)) * size + token).ravel()  # [S * 2K]
        self.places = torch.from_numpy(places).to(self.device)
        self._plans: dict[object, list[Part]] = {}

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
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        channels, both = key.shape[-1], torch.cat((key, value), -2)  # [S, 2K, D]
        self.cache.cells[layer].view(-1, channels).index_copy_(0, self.places, both.view(-1, channels))
        plain = self.batch.visible is None and softcap is None
        if plain and (window is None or max(self.batch.lengths) <= window):
            plan = self._plan(last)
        else:
            plan = self._masked_plan(window, softcap, last)
        if len(plan) == 1:
            return plan[0][1](query, keys, values, key, value, scale)
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        for rows, attend in plan:
            out[rows] = attend(query[rows], keys, values, key, value, scale)
        return out

    def _plan(self, last: bool) -> list[Part]:
        if last in self._plans:
            return self._plans[last]
        batch, found = self.batch, list[Part]()
        single = [i for i, own in enumerate(batch.pages) if (last or batch.counts[i] == 1) and len(own) == 1]
        alone = last or batch.decoding
        places = range(len(batch.counts) + 1) if alone else batch.cu_seq_q.tolist()
        if single:
            rows = self._rows([places[i] for i in single])
            pages, lengths = [batch.pages[i][0] for i in single], [batch.lengths[i] for i in single]
            found.append((rows, _PageRows(self.cache, pages, lengths)))
        done = set(single)
        for i, count in enumerate(batch.counts):
            if i in done:
                continue
            if last or count == 1:
                found.append((slice(places[i], places[i] + 1), _Cached(self.cache, batch, i, None)))
            elif batch.starts[i]:
                mask = _later(batch.starts[i], count, self.cache)
                found.append((slice(places[i], places[i + 1]), _Cached(self.cache, batch, i, mask)))
            else:  # prompts of the same length are one call
                alike = i + 1
                while alike < len(batch.counts) and (batch.counts[alike], batch.starts[alike]) == (count, 0):
                    alike += 1
                done |= set(range(i, alike))
                whole = slice(places[i], places[alike])
                found.append((whole, _Fresh(whole, alike - i)))
        self._plans[last] = found
        return found

    def _masked_plan(self, window: int | None, softcap: float | None, last: bool) -> list[Part]:
        name = (window, softcap, last)
        if name not in self._plans:
            batch, places = self.batch, self.batch.cu_seq_q.tolist()
            self._plans[name] = [
                (
                    slice(i, i + 1) if last else slice(places[i], places[i + 1]),
                    _Cached(self.cache, batch, i, self._mask(i, window, last), softcap),
                )
                for i in range(len(batch.counts))
            ]
        return self._plans[name]

    def _mask(self, i: int, window: int | None, last: bool) -> torch.Tensor:
        """What the new tokens of a sequence see: [S, L]."""
        batch = self.batch
        length, new = batch.lengths[i], slice(int(batch.cu_seq_q[i]), int(batch.cu_seq_q[i + 1]))
        at = torch.arange(length)[None]  # [1, L]
        own = torch.arange(batch.starts[i], length)[:, None]  # [S, 1]
        if batch.visible is not None:
            first, end = (torch.from_numpy(each[new])[:, None] for each in batch.visible[window])
        else:
            first, end = own + 1 - (window or length), own + 1
        seen = (at >= first) & (at < end)  # [S, L]
        return _additive(seen[-1:] if last else seen, self.cache)

    def _rows(self, places: Sequence[int]) -> Rows:
        if all(after == before + 1 for before, after in pairwise(places)):
            return slice(places[0], places[-1] + 1)
        return torch.tensor(places, device=self.device)


@dataclass
class _Fresh:
    """Prompts from their beginning, all of one length: `count` of them at `rows` of the batch."""

    rows: slice
    count: int

    def __call__(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,  # noqa: ARG002 - the new ones are all there are
        values: torch.Tensor,  # noqa: ARG002
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        query, key, value = map(self._apart, (query, key[self.rows], value[self.rows]))
        out = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=True
        )  # [B, A, S, D]
        return out.transpose(1, 2).flatten(0, 1)

    def _apart(self, packed: torch.Tensor) -> torch.Tensor:
        """Packed tokens as [B, heads, S, D]."""
        found: torch.Tensor = packed.unflatten(0, (self.count, -1)).transpose(1, 2)
        return found


class _PageRows:
    """One token of each of many sequences that fit in a page each: the pages are the rows of a view."""

    def __init__(self, cache: Cache, pages: Sequence[int], lengths: Sequence[int]) -> None:
        heads, channels, size = cache.shape.heads, cache.shape.channels, cache.page_tokens
        device = cache.shape.device
        first, count, length = min(pages), max(pages) - min(pages) + 1, max(lengths)
        if len(pages) > 1:
            length = min(size, -(-length // LENGTH_STEP) * LENGTH_STEP)
        self.gathered = count > SPARSEST * len(pages)
        token = heads * channels
        if self.gathered:
            self.shape, self.begin = (-1, heads, size, channels), 0
            order = list(range(len(pages)))
            self.pages = torch.tensor(pages, device=device)
        else:
            self.shape, self.begin = (count, heads, length, channels), 2 * first * size * token
            order = [page - first for page in pages]
        self.length = length
        self.strides = (2 * size * token, size * channels, channels, 1)
        self.rows = (
            None if order == list(range(count)) or self.gathered else torch.tensor(order, device=device)
        )
        self.count = len(pages) if self.gathered else count
        self.mask: torch.Tensor | None = None
        if self.count > len(pages) or min(lengths) < length:
            ends = np.ones(self.count, np.int64)
            ends[order] = lengths
            seen = cache.ends[:, :length].index_select(0, torch.from_numpy(ends).to(device))  # [R, L]
            self.mask = seen[:, None, None]  # [R, 1, 1, L]
        self.heads = heads

    def __call__(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        key: torch.Tensor,  # noqa: ARG002 - it is cached
        value: torch.Tensor,  # noqa: ARG002
        scale: float | None,
    ) -> torch.Tensor:
        shape = query.shape
        if self.rows is not None:
            query = query.new_zeros(self.count, *shape[1:]).index_copy_(0, self.rows, query)  # [R, A, D]
        # The query heads that share a key head stand as queries of one head.
        query = query.reshape(self.count, self.heads, -1, shape[-1])  # [R, K, G, D]
        out = scaled_dot_product_attention(
            query, self._view(keys), self._view(values), attn_mask=self.mask, scale=scale
        )  # [R, K, G, D]
        out = out.reshape(self.count, *shape[1:])
        return out if self.rows is None else out.index_select(0, self.rows)

    def _view(self, cells: torch.Tensor) -> torch.Tensor:
        """[R, K, L, D]."""
        if self.gathered:
            return cells[self.pages, :, : self.length]
        return cells.as_strided(self.shape, self.strides, cells.storage_offset() + self.begin)


class _Cached:
    """New tokens of one sequence over all that is cached of it."""

    def __init__(
        self, cache: Cache, batch: Batch, i: int, mask: torch.Tensor | None, softcap: float | None = None
    ) -> None:
        self.length, self.mask, self.softcap = batch.lengths[i], mask, softcap
        self.page_tokens, self.heads = cache.page_tokens, cache.shape.heads
        pages = batch.pages[i][: -(-self.length // self.page_tokens)]
        self.page = pages[0]
        self.pages = torch.tensor(pages, device=cache.shape.device) if len(pages) > 1 else None

    def __call__(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        key: torch.Tensor,  # noqa: ARG002 - it is cached
        value: torch.Tensor,  # noqa: ARG002
        scale: float | None,
    ) -> torch.Tensor:
        keys, values = self._read(keys), self._read(values)  # each [K, L, D]
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
        """[K, L, D]."""
        if self.pages is None:
            return cells[self.page, :, : self.length]
        return cells[self.pages].transpose(0, 1).flatten(1, 2)[:, : self.length]


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


def _additive(seen: torch.Tensor, cache: Cache) -> torch.Tensor:
    mask = torch.zeros(seen.shape, dtype=cache.shape.dtype).masked_fill_(~seen, float("-inf"))
    return mask.to(cache.shape.device)


def _later(start: int, count: int, cache: Cache) -> torch.Tensor:
    """For tokens after others: all that is cached, and the new ones up to each. [S, L]."""
    mask = torch.full(
        (count, start + count), float("-inf"), dtype=cache.shape.dtype, device=cache.shape.device
    )
    return mask.triu_(start + 1)
