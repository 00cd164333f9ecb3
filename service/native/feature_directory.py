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

    __slots__ = ("_free", "key", "pages", "ready")

    def __init__(self, key: Hashable, pages: tuple[int, ...], free: list[int]) -> None:
        self.key = key
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
            if len(self._free) < tiles:
                self._make_space(tiles)
            if len(self._free) < tiles:  # answers refer to the rest
                return None
            kept = KeptFeatures(key, tuple(self._free.pop() for _ in range(tiles)), self._free)
            self._kept[key] = kept
            return kept

    def settle(self, kept: list[KeptFeatures], *, computed: bool) -> None:
        """Release what an answer refers to, whose images were `computed` or will not be for this answer."""
        with self._lock:
            for one in kept:
                one.ready = one.ready or computed
                if not one.ready and self._kept.get(one.key) is one:
                    del self._kept[one.key]
            kept.clear()

    def _make_space(self, tiles: int) -> None:
        """Drop images until so many pages are free. Those not ready belong to answers: they free nothing."""
        for key in [key for key, kept in self._kept.items() if kept.ready]:
            del self._kept[key]
            if len(self._free) >= tiles:
                return
