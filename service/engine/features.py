"""Features of images that have been computed once, kept for so many images."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

import torch


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """The features of an image: of at most `tiles` tiles, `tokens` vectors of `channels` numbers each."""

    tiles: int
    tokens: int
    channels: int
    dtype: torch.dtype
    device: torch.device

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile."""
        return self.tokens * self.channels * self.dtype.itemsize


class CachedFeatures:
    """The features of one image in the cache.

    Its pages become free once neither the cache nor a sequence that is to be answered from it holds it.
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
    """Features of `images` images of the most tiles, or of more smaller ones.

    The least recently used are removed first. They are in one tensor, a page for each tile, that is allocated
    as a whole: what the cache takes is the same before the first image and after the last. Any thread may ask
    what is cached; only the engine's own reads and writes features.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.hits = 0
        self.misses = 0
        self._cached: OrderedDict[Hashable, CachedFeatures] = OrderedDict()
        self._lock = Lock()
        self._tensor = torch.empty(0)
        self._free: list[int] = []
        self._pages = 0

    def allocate(self, shape: FeatureShape) -> None:
        """Take the memory; until then nothing is cached."""
        self._pages = self.images * shape.tiles
        self._free.extend(reversed(range(self._pages)))
        size = (self._pages, shape.tokens, shape.channels)
        self._tensor = torch.zeros(size, dtype=shape.dtype, device=shape.device)

    @property
    def capacity_bytes(self) -> int:
        """Bytes that have been allocated."""
        return self._tensor.nbytes

    @property
    def bytes(self) -> int:
        """Bytes of the features that are cached."""
        return (self._pages - len(self._free)) * self._page_bytes

    def get(self, key: Hashable) -> CachedFeatures | None:
        """The features of an image, if they are cached; counted as a hit or a miss."""
        with self._lock:
            found = self._cached.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._cached.move_to_end(key)
            return found

    def peek(self, key: Hashable) -> CachedFeatures | None:
        """The features of an image, if they were put since `get` missed them; not counted."""
        with self._lock:
            return self._cached.get(key)

    def read(self, cached: CachedFeatures) -> torch.Tensor:
        """A copy of an image's features: [N, H]."""
        return self._tensor[cached.pages].flatten(0, 1)

    def put(self, key: Hashable, features: torch.Tensor) -> None:
        """Cache the features [N, H] of an image, whole tiles, in place of others where they do not fit."""
        with self._lock:
            count = features.nbytes // max(1, self._page_bytes)
            if key in self._cached or not 0 < count <= self._pages:
                return
            while len(self._free) < count and self._cached:
                self._cached.popitem(last=False)
            if len(self._free) < count:  # sequences hold what was removed
                return
            pages = [self._free.pop() for _ in range(count)]
            self._cached[key] = CachedFeatures(pages, self._free)
            self._tensor[pages] = features.view(-1, *self._tensor.shape[1:])  # [T, image tokens a tile, H]

    def clear(self) -> None:
        """Remove all features."""
        with self._lock:
            self._cached.clear()

    @property
    def _page_bytes(self) -> int:
        return self._tensor[0].nbytes if self._pages else 0
