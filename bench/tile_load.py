"""Loads of tiles and words: images that are cut into exactly so many tiles, all different."""

import io
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.workload import Sample

WARM_UP = 4
# Columns and rows of tiles; more than one has a thumbnail too.
GRIDS = ((1, 1), (3, 2), (4, 3))
WORDS = (8, 512)
CLIENTS = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one kind: an image of a grid of tiles, a prompt of so many words, so many in flight."""

    grid: tuple[int, int]
    words: int
    clients: int

    @property
    def tiles(self) -> int:
        """The tiles that the model sees."""
        columns, rows = self.grid
        return columns * rows + (columns * rows > 1)

    def __str__(self) -> str:
        return f"{self.tiles} tiles, {self.words} words, {self.clients} in flight"


def loads(most_tiles: int) -> list[Load]:
    """All combinations whose images a model takes without shrinking them."""
    return [
        Load(grid, words, clients)
        for grid in GRIDS
        if grid[0] * grid[1] <= most_tiles
        for words in WORDS
        for clients in CLIENTS
    ]


def photos(load_: Load, side: int, count: int) -> list[Sample]:
    """Images of noise, all different, as JPEG files that are cut into exactly the load's tiles."""
    rng, found = np.random.default_rng(time.time_ns()), list[Sample]()
    columns, rows = load_.grid
    for _ in range(count):
        coarse = rng.integers(0, 256, (8 * rows, 8 * columns, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((columns * side, rows * side)).save(file, "JPEG", quality=90)
        found.append(Sample(file.getvalue(), ""))
    return found


def prompt(load_: Load) -> str:
    """A text of so many words."""
    return " ".join(["red"] * load_.words)
