"""Drawings show what their captions say."""

import numpy as np
import pytest
from PIL import Image

from training.shapes import COLORS, SHAPES, Scene, draw, random_image, random_scene

# A shape's share of its bounding box: a circle's pi / 4, a square's all, a triangle's half.
FILLED = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}


def shape_of(cell: np.ndarray) -> str:
    """The shape in an RGB cell [H, W, 3], by how much of its bounding box it fills."""
    spread = cell.max(axis=2).astype(int) - cell.min(axis=2)
    drawn = (spread > 20) | (cell.min(axis=2) > 200)
    ys, xs = np.nonzero(drawn)
    box = drawn[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    return min(FILLED, key=lambda shape: abs(FILLED[shape] - box.mean()))


def color_of(cell: np.ndarray) -> str:
    """The color nearest to the middle of the shape in an RGB cell [H, W, 3]."""
    middle = cell[cell.shape[0] // 2, cell.shape[1] // 2].astype(int)
    return min(COLORS, key=lambda name: int(np.abs(middle - COLORS[name]).sum()))


def cells(image: Image.Image, scene: Scene) -> list[np.ndarray]:
    return np.array_split(np.asarray(image), 2, axis=1 if scene.side_by_side else 0)


@pytest.mark.parametrize("size", [(112, 112), (336, 336), (224, 448)])
@pytest.mark.parametrize("smooth", [False, True], ids=["hard", "smooth"])
def test_a_drawing_shows_its_scene(size: tuple[int, int], *, smooth: bool) -> None:
    """Each half holds the shape and the color that the scene names."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        scene = random_scene(rng)
        image = draw(scene, rng, width=size[0], height=size[1], smooth=smooth)
        assert image.size == size
        found = tuple((color_of(cell), shape_of(cell)) for cell in cells(image, scene))
        assert found == scene.names


def test_the_background_is_gray() -> None:
    """The corners are of one gray from 60 to 109."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        pixels = np.asarray(draw(random_scene(rng), rng))
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert len(np.unique(corners)) == 1
        assert 60 <= corners[0, 0] < 110


def test_captions_name_both_shapes_and_their_places() -> None:
    """The caption is the sentence the README promises."""
    scene = Scene((("red", "circle"), ("blue", "square")), side_by_side=True)
    assert scene.caption == "a red circle left of a blue square"
    stacked = Scene((("white", "triangle"), ("green", "circle")), side_by_side=False)
    assert stacked.caption == "a white triangle above a green circle"


def test_scenes_cover_every_word() -> None:
    """Random scenes use every color, every shape and both relations."""
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(300)]
    assert {name for scene in scenes for name in scene.names} == {(c, s) for c in COLORS for s in SHAPES}
    assert {scene.side_by_side for scene in scenes} == {True, False}


def test_sizes_stay_within_their_bounds() -> None:
    """Training images have sides of 84 to 320 pixels, and half of them are 112 x 112."""
    rng = np.random.default_rng(1)
    sizes = [random_image(rng)[0].size for _ in range(400)]
    assert all(84 <= side <= 320 for size in sizes for side in size)
    assert 0.4 < sizes.count((112, 112)) / len(sizes) < 0.6


def test_the_same_seed_draws_the_same_image() -> None:
    """Training data is reproducible to the last pixel."""
    one, other = (random_image(np.random.default_rng(11)) for _ in range(2))
    assert one[1] == other[1]
    assert one[0].tobytes() == other[0].tobytes()
