"""Tiling equals the original InternVL2 code bit for bit."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode
from transformers import GotOcr2ImageProcessorPil

from service.engine.runner.pixels import Normaliser, pixels
from service.media.tiles import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TileSpec,
    cut,
    grid,
    tile_count,
)
from tests.support.images import photo

sizes = st.one_of(st.integers(1, 2000), st.sampled_from([1, 56, 112, 448, 20_000]))


def normalized(tiles: np.ndarray) -> np.ndarray:
    """Tiles as a model takes them: float32 [T, 3, H, W]."""
    device = torch.device("cpu")
    return pixels([tiles], Normaliser.of(TileSpec(size=1, max_tiles=1), device), device).numpy()


def reference_grid(width: int, height: int, size: int, most: int, least: int = 1) -> tuple[int, int]:
    """The arrangement by the words of the InternVL2 model card."""
    ratios = {
        (i, j)
        for n in range(least, most + 1)
        for i in range(1, n + 1)
        for j in range(1, n + 1)
        if least <= i * j <= most
    }
    best, smallest = (1, 1), float("inf")
    for ratio in sorted(ratios, key=lambda pair: pair[0] * pair[1]):
        difference = abs(width / height - ratio[0] / ratio[1])
        if difference < smallest:
            smallest, best = difference, ratio
        elif difference == smallest and width * height > 0.5 * size * size * ratio[0] * ratio[1]:
            best = ratio
    return best


def reference_tiles(image: Image.Image, spec: TileSpec) -> np.ndarray:
    """The tiles by torchvision's transforms, one by one."""
    columns, rows = reference_grid(*image.size, spec.size, spec.max_tiles, spec.min_tiles)
    size = spec.size
    resized = image.resize((size * columns, size * rows))
    parts = []
    for index in range(columns * rows):
        left, top = (index % columns) * size, (index // columns) * size
        parts.append(resized.crop((left, top, left + size, top + size)))
    if spec.thumbnail and len(parts) != 1:
        parts.append(image.resize((size, size)))
    transform = transforms.Compose(
        [
            transforms.Resize((size, size), interpolation=InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(mean=spec.mean, std=spec.std),
        ]
    )
    return torch.stack([transform(part) for part in parts]).numpy()


bounds = st.integers(1, 20).flatmap(lambda most: st.tuples(st.integers(1, most), st.just(most)))


@given(sizes, sizes, bounds, st.sampled_from([28, 56, 448]))
@example(1, 1, (1, 12), 448)
@example(1, 20_000, (1, 12), 448)
@example(20_000, 1, (1, 12), 448)
@example(400, 800, (1, 12), 448)
def test_the_grid_is_the_original_one(width: int, height: int, bound: tuple[int, int], size: int) -> None:
    """For any size and any bounds the columns and rows are those of the original code."""
    least, most = bound
    expected = reference_grid(width, height, size, most, least)
    assert grid(width, height, size=size, max_tiles=most, min_tiles=least) == expected


@pytest.mark.parametrize("bound", [(4, 4), (5, 5), (6, 7), (8, 8), (12, 12)])
@pytest.mark.parametrize("scale", [1, 100])
def test_ties_of_as_many_tiles_are_the_original_s(bound: tuple[int, int], scale: int) -> None:
    """Half way between two arrangements of as many tiles, the original's choice is taken."""
    least, most = bound
    ratios = sorted({i / j for i in range(1, 13) for j in range(1, 13) if least <= i * j <= most})
    for low, high in itertools.pairwise(ratios):
        middle = Fraction((low + high) / 2).limit_denominator(1000) * scale
        width, height = middle.numerator * scale, middle.denominator * scale
        expected = reference_grid(width, height, 28, most, least)
        assert grid(width, height, size=28, max_tiles=most, min_tiles=least) == expected


@given(sizes, sizes, st.integers(1, 40))
def test_the_count_keeps_its_bound(width: int, height: int, most: int) -> None:
    """However odd the size, there are no more tiles than allowed, and one thumbnail at most."""
    count = tile_count(width, height, TileSpec(size=56, max_tiles=most))
    assert 1 <= count <= most + 1


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 12), st.booleans())
@example(1, 20_000, 12, True)
@example(20_000, 1, 12, True)
@example(1, 1, 12, True)
def test_tiles_equal_the_original_bit_for_bit(width: int, height: int, most: int, thumbnail: bool) -> None:
    """For any size and aspect the normalized tiles equal torchvision's, to the last bit."""
    spec = TileSpec(size=28, max_tiles=most, thumbnail=thumbnail)
    image = photo(width, height)
    found = normalized(cut(image, spec))
    assert np.array_equal(found, reference_tiles(image, spec))


@pytest.mark.parametrize("size", [(112, 112), (300, 100), (640, 480), (57, 911), (1, 1)])
def test_tiles_equal_the_library_s_processor(size: tuple[int, int]) -> None:
    """The tiles are those of transformers' processor for these models."""
    image, spec = photo(*size), TileSpec(size=56, max_tiles=12)
    processor = GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56},
        crop_to_patches=True,
        max_patches=12,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )
    expected = processor(image, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(normalized(cut(image, spec)), expected, atol=1e-6)


def test_tiles_stand_row_by_row_and_the_thumbnail_last() -> None:
    """An image of four quarters gives them in reading order, then itself."""
    image = Image.new("RGB", (112, 112))
    for index, color in enumerate([(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0)]):
        image.paste(color, (index % 2 * 56, index // 2 * 56, index % 2 * 56 + 56, index // 2 * 56 + 56))
    found = cut(image, TileSpec(size=56, max_tiles=4))
    assert [int(tile[28, 28, 0]) for tile in found[:4]] == [10, 20, 30, 40]
    assert len(found) == 5
    assert found[4][10, 10, 0] == 10


def test_one_tile_has_no_thumbnail() -> None:
    """An image that fits one tile is not shown twice."""
    assert len(cut(photo(56, 56), TileSpec(size=56, max_tiles=1))) == 1
