"""InternVL's dynamic tiling: cut an image into tiles of one size, in the grid closest to its aspect ratio.

The results are bit-identical to `load_image` on the InternVL2 model card.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class TileSpec:
    """How images are cut: tiles of `size` x `size` pixels, `min_tiles` to `max_tiles`, then a thumbnail.

    The model expects each channel with `mean` subtracted, then divided by `std`.
    """

    size: int
    max_tiles: int
    min_tiles: int = 1
    thumbnail: bool = True
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def at_most(self, tiles: int | None) -> "TileSpec":
        """Return a copy limited to `tiles` tiles; None or a higher number changes nothing."""
        if tiles is None or tiles >= self.max_tiles:
            return self
        return replace(self, max_tiles=tiles, min_tiles=min(self.min_tiles, tiles))

    @property
    def most_tiles(self) -> int:
        """Tiles of the largest possible image, its thumbnail included."""
        return self.max_tiles + self.thumbnail

    @property
    def most_bytes(self) -> int:
        """Bytes of the largest possible set of tiles."""
        return self.most_tiles * self.size**2 * 3


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a model cuts images: by `spec`, into tiles that are `tokens_per_tile` tokens of the prompt each."""

    spec: TileSpec
    tokens_per_tile: int


@lru_cache(maxsize=64)
def _candidates(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """List every grid of `min_tiles` to `max_tiles` tiles, fewest first.

    The order of grids with equally many tiles decides some ties. The original leaves it to a set, so this
    fills a set in the same order.
    """
    grids = {
        (columns, rows)
        for side in range(min_tiles, max_tiles + 1)
        for columns in range(1, side + 1)
        for rows in range(1, min(side, max_tiles // columns) + 1)
        if columns * rows >= min_tiles
    }
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))


def grid(width: int, height: int, *, size: int, max_tiles: int, min_tiles: int = 1) -> tuple[int, int]:
    """Return the columns and rows of tiles for an image of `width` x `height` pixels.

    The closest aspect ratio wins. Of two equally close grids, the one with more tiles wins if the image has
    more than half as many pixels.
    """
    ratio, area = width / height, width * height
    best, smallest = (1, 1), float("inf")
    for columns, rows in _candidates(min_tiles, max_tiles):
        difference = abs(ratio - columns / rows)
        if difference < smallest:
            best, smallest = (columns, rows), difference
        elif difference == smallest and area > 0.5 * size * size * columns * rows:
            best = (columns, rows)
    return best


def tile_count(width: int, height: int, spec: TileSpec) -> int:
    """Count the tiles of an image of this size, including the thumbnail."""
    columns, rows = grid(width, height, size=spec.size, max_tiles=spec.max_tiles, min_tiles=spec.min_tiles)
    count = columns * rows
    return count + 1 if spec.thumbnail and count > 1 else count


def cut(image: Image.Image, spec: TileSpec) -> np.ndarray:
    """Cut an RGB image into tiles, row by row, the thumbnail last: uint8 [T, H, W, 3]."""
    columns, rows = grid(*image.size, size=spec.size, max_tiles=spec.max_tiles, min_tiles=spec.min_tiles)
    side, count = spec.size, columns * rows
    canvas = np.asarray(image.resize((columns * side, rows * side), Image.Resampling.BICUBIC))
    split = canvas.reshape(rows, side, columns, side, 3).swapaxes(1, 2)  # [rows, columns, H, W, 3]
    tiles = np.empty((tile_count(*image.size, spec), side, side, 3), np.uint8)
    tiles[:count].reshape(rows, columns, side, side, 3)[:] = split
    if len(tiles) > count:
        tiles[count] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    return tiles
