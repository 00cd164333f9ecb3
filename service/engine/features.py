"""Image features that have been computed once, kept within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

import torch


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """What the features of a tile are: `tokens` vectors of `channels` numbers."""

    tokens: int
    channels: int
    dtype: torch.dtype
    device: torch.device

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile."""
        return self.tokens * self.channels * self.dtype.itemsize


class Kept:
    """The features of one image in the cache.

    Its pages are free again once nobody holds it: neither the cache nor a run that is to be answered from it.
    """

    __slots__ = ("_free", "pages")

    def __init__(self, pages: list[int], free: list[int]) -> None:
        self.pages = pages
        self._free = free

    def __del__(self) -> None:
        self._free.extend(self.pages)

    @property
    def tiles(self) -> int:
        """The tiles of the image."""
        return len(self.pages)


class FeatureCache:
    """Features of single images; the least recently used go first.

    They lie in one slab, a page for each tile, that is allocated as a whole: what the cache takes is the same
    before the first image and after the last. Any thread may ask what is kept, only the engine's own reads
    and writes features.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = Lock()
        self._slab = torch.empty(0)
        self._free: list[int] = []
        self._pages = 0

    def allocate(self, shape: FeatureShape) -> None:
        """Take the memory, as much of the budget as makes whole tiles; until then nothing is kept."""
        self._pages = self.budget // shape.tile_bytes
        self._free.extend(reversed(range(self._pages)))
        size = (self._pages, shape.tokens, shape.channels)
        self._slab = torch.zeros(size, dtype=shape.dtype, device=shape.device)

    @property
    def bytes(self) -> int:
        """Bytes of the features that are kept."""
        return (self._pages - len(self._free)) * self._page_bytes

    def get(self, key: Hashable) -> Kept | None:
        """The features of an image, if they are kept; counted as a hit or a miss."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._kept.move_to_end(key)
            return found

    def peek(self, key: Hashable) -> Kept | None:
        """The features of an image, if they have come since `get` missed them; not counted."""
        with self._lock:
            return self._kept.get(key)

    def read(self, kept: Kept) -> torch.Tensor:
        """A copy of an image's features: [N, H]."""
        return self._slab[kept.pages].flatten(0, 1)

    def put(self, key: Hashable, features: torch.Tensor) -> None:
        """Keep the features [N, H] of an image, whole tiles, and let go of others until they fit."""
        with self._lock:
            count = features.nbytes // max(1, self._page_bytes)
            if key in self._kept or not 0 < count <= self._pages:
                return
            while len(self._free) < count and self._kept:
                self._kept.popitem(last=False)
            if len(self._free) < count:  # runs hold what was let go
                return
            pages = [self._free.pop() for _ in range(count)]
            self._kept[key] = Kept(pages, self._free)
            self._slab[pages] = features.view(-1, *self._slab.shape[1:])  # [T, image tokens a tile, H]

    def clear(self) -> None:
        """Forget all features."""
        with self._lock:
            self._kept.clear()

    @property
    def _page_bytes(self) -> int:
        return self._slab[0].nbytes if self._pages else 0
