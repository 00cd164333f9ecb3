"""InternVL's dynamic tiling: an image becomes tiles of one size, arranged as near its aspect ratio as can be.

The results equal those of `load_image` on the InternVL2 model card, bit for bit.
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

    `mean` and `std` of each channel are what the model wants subtracted and divided by.
    """

    size: int
    max_tiles: int
    min_tiles: int = 1
    thumbnail: bool = True
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def at_most(self, tiles: int | None) -> "TileSpec":
        """The same with a lower bound of tiles; None, or a higher one, changes nothing."""
        if tiles is None or tiles >= self.max_tiles:
            return self
        return replace(self, max_tiles=tiles, min_tiles=min(self.min_tiles, tiles))

    @property
    def most_bytes(self) -> int:
        """Bytes of the tiles of an image that is cut into as many as may be."""
        return (self.max_tiles + self.thumbnail) * self.size**2 * 3


@lru_cache(maxsize=64)
def _candidates(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """Every arrangement of `min_tiles` to `max_tiles` tiles, fewest first.

    Among as many tiles the order decides some ties. The original leaves it to a set, so this fills a set in
    the same order: side by side up to 1, 2, 3, ... tiles.
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
    """The columns and rows of tiles for an image of `width` x `height` pixels.

    The nearest aspect ratio wins; of two as near, the one of more tiles if the image has more than half their
    pixels.
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
    """The tiles that an image of this size is cut into, the thumbnail among them."""
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
