"""The tokens of one step and where their keys and values are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Batch:
    """New tokens of B sequences, packed one sequence after the other: S tokens in all.

    Sequence i has `counts[i]` new tokens after `starts[i]` cached ones; token t of it is in page
    `pages[i][t // page_tokens]`. Of the new tokens the last `drafts[i]` are guesses (empty: none are), so
    logits are computed after the last `outputs[i]`. `visible` is for models whose tokens see later ones
    (None: causal): by a layer's window, for each token of the batch the first token of its sequence that it
    sees and the one after the last, each [S].
    """

    starts: Sequence[int]
    counts: Sequence[int]
    pages: Sequence[Sequence[int]]
    page_tokens: int
    visible: Mapping[int | None, tuple[np.ndarray, np.ndarray]] | None = None
    drafts: Sequence[int] = ()

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sequence once this step's are cached: [B]."""
        return [start + count for start, count in zip(self.starts, self.counts, strict=True)]

    @cached_property
    def cu_seq_q(self) -> np.ndarray:
        """Where the tokens of each sequence begin, and at last S: int32 [B + 1]."""
        return np.cumsum([0, *self.counts], dtype=np.int32)

    @cached_property
    def outputs(self) -> list[int]:
        """Tokens of each sequence after which logits are computed: [B]."""
        return [1 + draft for draft in self.drafts] or [1] * len(self.counts)

    @cached_property
    def last(self) -> np.ndarray:
        """Those tokens, the last of each sequence: [R]."""
        ends = self.cu_seq_q[1:].astype(np.int64)
        if max(self.outputs) == 1:
            last: np.ndarray = ends - 1
            return last
        return np.concatenate([np.arange(e - n, e) for e, n in zip(ends, self.outputs, strict=True)])

    @cached_property
    def positions(self) -> np.ndarray:
        """The place of each token in its sequence: [S]."""
        if self.decoding:
            return np.array(self.starts)
        return np.concatenate([np.arange(s, e) for s, e in zip(self.starts, self.lengths, strict=True)])

    @cached_property
    def slots(self) -> np.ndarray:
        """The place of each token in the cache: [S]."""
        size = self.page_tokens
        if self.decoding:
            pages = [own[start // size] for own, start in zip(self.pages, self.starts, strict=True)]
        else:
            pages = [
                own[at // size]
                for own, start, end in zip(self.pages, self.starts, self.lengths, strict=True)
                for at in range(start, end)
            ]
        slots: np.ndarray = np.array(pages) * size + self.positions % size
        return slots

    @cached_property
    def block_table(self) -> np.ndarray:
        """The pages of each sequence, padded with 0: int32 [B, most pages]."""
        table = np.zeros((len(self.pages), max(map(len, self.pages))), np.int32)
        for row, own in enumerate(self.pages):
            table[row, : len(own)] = own
        return table

    @property
    def decoding(self) -> bool:
        """Whether every sequence has one new token."""
        return max(self.counts) == 1
