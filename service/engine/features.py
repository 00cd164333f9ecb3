"""Image features that have been computed once, kept within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

import torch


class FeatureCache:
    """Features [N, H] of single images; the least recently used go first. Used by several threads."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> torch.Tensor | None:
        """The features of an image, if they are kept; counted as a hit or a miss."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._kept.move_to_end(key)
            return found

    def peek(self, key: Hashable) -> torch.Tensor | None:
        """The features of an image, if they have come since `get` missed them; not counted."""
        with self._lock:
            return self._kept.get(key)

    def clear(self) -> None:
        """Forget all features."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def put(self, key: Hashable, features: torch.Tensor) -> None:
        """Keep features, and let go of others until the budget holds."""
        size = features.numel() * features.element_size()
        with self._lock:
            if key in self._kept or size > self.budget:
                return
            # A copy of its own: a view would keep the whole batch that it is of in memory.
            self._kept[key] = features.clone()
            self.bytes += size
            while self.bytes > self.budget:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= oldest.numel() * oldest.element_size()
