"""Which images have features in the feature cache, and in which of its pages.

The pages are on the ranks; what they hold is decided here alone. Messages arrive in order, so a rank writes
a page for one image only after it has read it for another.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock


class KeptFeatures:
    """The features of one image, in one page for each tile.

    Its pages are free again once neither the directory nor an answer refers to it. They hold the features
    once it is `ready`.
    """

    __slots__ = ("_free", "pages", "ready")

    def __init__(self, pages: tuple[int, ...], free: list[int]) -> None:
        self.pages = pages
        self.ready = False
        self._free = free

    def __del__(self) -> None:
        self._free.extend(self.pages)


class FeatureDirectory:
    """Features of single images; the least recently used go first. Safe to use from several threads."""

    def __init__(self, pages: int, page_bytes: int) -> None:
        self.hits = 0
        self.misses = 0
        self._pages = pages
        self._page_bytes = page_bytes
        self._kept: OrderedDict[Hashable, KeptFeatures] = OrderedDict()
        self._free = list(reversed(range(pages)))
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """Bytes of the pages in use."""
        return (self._pages - len(self._free)) * self._page_bytes

    def get(self, key: Hashable) -> KeptFeatures | None:
        """The features of an image, if they are ready; counted as a hit or a miss."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or not found.ready:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return found

    def reserve(self, key: Hashable, tiles: int) -> KeptFeatures | None:
        """Pages for the features of an image, those of others if need be; None if it cannot be kept."""
        with self._lock:
            if key in self._kept and len(self._kept[key].pages) == tiles:
                return self._kept[key]
            if not 0 < tiles <= self._pages:
                return None
            while len(self._free) < tiles and self._kept:
                self._kept.popitem(last=False)
            if len(self._free) < tiles:  # answers refer to the rest
                return None
            kept = KeptFeatures(tuple(self._free.pop() for _ in range(tiles)), self._free)
            self._kept[key] = kept
            return kept

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._kept.clear()
