"""Training cuts images as the library's image processor does."""

import numpy as np
import pytest
from transformers import GotOcr2ImageProcessorPil

from service.media.tiles import cut
from training.batches import SPEC, seen
from training.evaluate import of_tiles
from training.shapes import draw, random_scene


@pytest.fixture(scope="module")
def processor() -> GotOcr2ImageProcessorPil:
    return GotOcr2ImageProcessorPil(
        size={"height": SPEC.size, "width": SPEC.size},
        crop_to_patches=True,
        min_patches=SPEC.min_tiles,
        max_patches=SPEC.max_tiles,
        image_mean=SPEC.mean,
        image_std=SPEC.std,
    )


@pytest.mark.parametrize(
    "size", [(112, 112), (60, 60), (84, 200), (448, 224), (336, 336), (301, 97), (50, 150)]
)
def test_tiles_equal_the_library_s(processor: GotOcr2ImageProcessorPil, size: tuple[int, int]) -> None:
    """The same image gives the same tiles, to rounding in float32."""
    rng = np.random.default_rng(size)
    image = draw(random_scene(rng), rng, width=size[0], height=size[1])
    expected = processor(images=image, return_tensors="np")["pixel_values"]
    found = seen([cut(image, SPEC)]).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("count", [3, 5])
def test_every_count_of_tiles_comes_up(count: int) -> None:
    """The training distribution has images of 3 and of 5 tiles."""
    image, _ = of_tiles(np.random.default_rng(0), count=count)
    assert cut(image, SPEC).shape == (count, 56, 56, 3)
