"""Image features on a rank's device, kept where the replica says.

The replica decides what is kept (`FeatureDirectory`); a rank only reads and writes the pages it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


class FeatureStore:
    """Features of `images` images of the most tiles, or of more smaller ones.

    They are in one tensor with a page for each tile, allocated whole, so that it never grows.
    """

    def __init__(self, shape: FeatureShape | None, images: int) -> None:
        self.page_bytes = shape.tile_bytes if shape else 0
        self.pages = images * shape.tiles if shape else 0
        self._content = torch.empty(0)
        if shape:
            size = (self.pages, shape.tokens, shape.channels)
            self._content = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        # Which part of which image a page has: pages are reused without a word.
        self._owner: list[tuple[object, int] | None] = [None] * self.pages

    def holds(self, key: object, pages: Sequence[int]) -> bool:
        """Whether the features of an image are in these pages."""
        return bool(pages) and all(self._owner[page] == (key, index) for index, page in enumerate(pages))

    def read(self, pages: Sequence[int]) -> torch.Tensor:
        """A copy of an image's features: [N, H]."""
        return self._content[list(pages)].flatten(0, 1)

    def write(self, key: object, pages: Sequence[int], features: torch.Tensor) -> None:
        """Keep the features [N, H] of an image."""
        self._content[list(pages)] = features.view(
            -1, *self._content.shape[1:]
        )  # [T, image tokens a tile, H]
        for index, page in enumerate(pages):
            self._owner[page] = (key, index)
