"""From the bytes of tiles to what a vision tower takes."""

import numpy as np
import pytest
import torch
from torchvision import transforms

from service.engine.runner.pixels import Normaliser, joined, pixels
from service.media.tiles import IMAGENET_MEAN, IMAGENET_STD, Channels, TileSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3)])
def test_every_value_is_normalised_to_the_last_bit(mean: Channels, std: Channels) -> None:
    """Each of the 256 values of each channel becomes what ToTensor and Normalize make of it."""
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)  # [1, 16, 16, 3]
    expected = transforms.Normalize(mean, std)(transforms.ToTensor()(values[0]))  # [3, 16, 16]
    normalise = Normaliser.of(TileSpec(16, 1, mean=mean, std=std), CPU)
    assert torch.equal(pixels([values], normalise, CPU)[0], expected)
    rows = normalise.repeated(16)(joined([values], CPU).flatten(2))  # [1, 16, 48]
    assert torch.equal(rows.view(16, 16, 3).permute(2, 0, 1), expected)


def test_tiles_of_images_stand_one_after_the_other() -> None:
    """Images of several tiles become one tensor, in their order."""
    first, second = (np.full((count, 2, 2, 3), count, np.uint8) for count in (1, 2))
    second[..., 2] = 9
    found = joined([first, second], CPU)
    assert found.shape == (3, 2, 2, 3)
    assert found[:, 0, 0].tolist() == [[1, 1, 1], [2, 2, 9], [2, 2, 9]]
