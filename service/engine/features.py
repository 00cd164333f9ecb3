"""Image features that have been computed once, kept within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

import torch


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """The features of a request's images [N, H], and how many tiles each image has."""

    values: torch.Tensor
    tiles_per_image: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.values.numel() * self.values.element_size()


class FeatureCache:
    """The least recently used features go first. Used by several threads."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[Hashable, ImageFeatures] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> ImageFeatures | None:
        """The features of a key, if they are kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._kept.move_to_end(key)
            return found

    def put(self, key: Hashable, features: ImageFeatures) -> None:
        """Keep features, and let go of others until the budget holds."""
        with self._lock:
            if key in self._kept or features.bytes > self.budget:
                return
            self._kept[key] = features
            self.bytes += features.bytes
            while self.bytes > self.budget:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= oldest.bytes
