"""The backend for the CPU, and for what `varlen` cannot do: torch's SDPA on views of the cache.

In a page the tokens of each head are neighbors. Sequences that fit in a page each are the rows of one view
of the cache; the pages of a longer one are gathered. Gathering the short ones too would cost as much as
attention itself.

Letters: B sequences, S tokens of the batch, L cached tokens, A query heads, K key-value heads, D channels
of a head.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch

from service.engine.attention.backend import LayerAttention
from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache
from service.engine.attention.sdpa_calls import (
    CachedSequence,
    FreshPrompts,
    PageRows,
    additive_mask,
    causal_mask,
)

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
        cells, channels = self.cache.cells[layer], key.shape[-1]
        both = torch.cat((key, value), -2)  # [S, 2K, D]
        cells.view(-1, channels).index_copy_(0, self.places, both.view(-1, channels))
        plain = self.batch.visible is None and softcap is None
        if plain and (window is None or max(self.batch.lengths) <= window):
            plan = self._plan(last)
        else:
            plan = self._masked_plan(window, softcap, last)
        if len(plan) == 1:
            return plan[0][1](query, cells, key, value, scale)
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        for rows, attend in plan:
            out[rows] = attend(query[rows], cells, key, value, scale)
        return out

    def _plan(self, last: bool) -> list[Part]:
        if last in self._plans:
            return self._plans[last]
        batch, found = self.batch, list[Part]()
        counts, places = self._queries(last)
        single = [i for i, own in enumerate(batch.pages) if counts[i] == 1 and len(own) == 1]
        if single:
            rows = self._rows([places[i] for i in single])
            pages, lengths = [batch.pages[i][0] for i in single], [batch.lengths[i] for i in single]
            found.append((rows, PageRows(self.cache, pages, lengths)))
        done = set(single)
        for i, count in enumerate(counts):
            if i in done:
                continue
            if count == 1:
                found.append((slice(places[i], places[i] + 1), CachedSequence(self.cache, batch, i, None)))
            elif before := batch.lengths[i] - count:
                mask = causal_mask(before, count, self.cache)
                found.append((slice(places[i], places[i + 1]), CachedSequence(self.cache, batch, i, mask)))
            else:  # prompts of the same length are one call
                alike = i + 1
                while alike < len(batch.counts) and (batch.counts[alike], batch.starts[alike]) == (count, 0):
                    alike += 1
                done |= set(range(i, alike))
                whole = slice(places[i], places[alike])
                found.append((whole, FreshPrompts(whole, alike - i)))
        self._plans[last] = found
        return found

    def _masked_plan(self, window: int | None, softcap: float | None, last: bool) -> list[Part]:
        name = (window, softcap, last)
        if name not in self._plans:
            counts, places = self._queries(last)
            self._plans[name] = [
                (
                    slice(places[i], places[i + 1]),
                    CachedSequence(self.cache, self.batch, i, self._mask(i, window, count), softcap),
                )
                for i, count in enumerate(counts)
            ]
        return self._plans[name]

    def _queries(self, last: bool) -> tuple[Sequence[int], list[int]]:
        """How many queries each sequence has [B], and where they begin, and at last their number [B + 1]."""
        counts = self.batch.outputs if last else self.batch.counts
        return counts, [0, *accumulate(counts)]

    def _mask(self, i: int, window: int | None, count: int) -> torch.Tensor:
        """What the last `count` tokens of a sequence see: [count, L]."""
        batch = self.batch
        length, new = batch.lengths[i], slice(int(batch.cu_seq_q[i]), int(batch.cu_seq_q[i + 1]))
        at = torch.arange(length)[None]  # [1, L]
        own = torch.arange(batch.starts[i], length)[:, None]  # [S, 1]
        if batch.visible is not None:
            first, end = (torch.from_numpy(each[new])[:, None] for each in batch.visible[window])
        else:
            first, end = own + 1 - (window or length), own + 1
        seen = (at >= first) & (at < end)  # [S, L]
        return additive_mask(seen[-count:], self.cache)

    def _rows(self, places: Sequence[int]) -> Rows:
        if all(after == before + 1 for before, after in pairwise(places)):
            return slice(places[0], places[-1] + 1)
        return torch.tensor(places, device=self.device)
