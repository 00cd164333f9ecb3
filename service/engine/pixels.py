"""Tiles of bytes become the numbers that a vision tower takes.

Tiles travel as bytes as far as the device: a fourth of what float32 takes in queues, pipes and on the bus.
"""

from collections.abc import Sequence

import numpy as np
import torch

from service.engine.checkpoint.loaded import LoadedModel
from service.media.tiles import TileSpec


def joined(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """The tiles of images, each uint8 [T, H, W, 3], as one tensor [T, 3, H, W] on the device."""
    tiles = torch.from_numpy(np.concatenate(images) if len(images) > 1 else images[0])
    if device.type == "cuda":  # from pinned memory the copy runs beside what is computed
        tiles = tiles.pin_memory().to(device, non_blocking=True)
    return tiles.to(device).permute(0, 3, 1, 2)


class Normaliser:
    """Normalises bytes to float32, as torchvision's ToTensor and Normalize do.

    The three steps are theirs, each rounded to float32, so that the last bit is the same. The divisors are
    tensors of the device: by a plain number a GPU would multiply with its inverse.
    """

    def __init__(self, spec: TileSpec, device: torch.device) -> None:
        self._white = torch.tensor(255.0, device=device)
        self._mean, self._std = (torch.tensor(values, device=device) for values in (spec.mean, spec.std))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Bytes of any shape [..., 3, H, W] as numbers, one after the other in memory."""
        x = values.to(torch.float32, memory_format=torch.contiguous_format)
        return x.div_(self._white).sub_(self._mean[:, None, None]).div_(self._std[:, None, None])


def normaliser_of(loaded: LoadedModel) -> Normaliser:
    """What normalises a model's tiles, on its device. Raises RuntimeError for a model that takes none."""
    tiling = loaded.inputs.tiling
    if tiling is None:
        raise RuntimeError(f"{loaded.architecture} models take no tiles")
    return Normaliser(tiling.spec, loaded.device)


def pixels(images: Sequence[np.ndarray], loaded: LoadedModel) -> torch.Tensor:
    """What a model's own vision tower takes for images, each its tiles as uint8: float32 [T, 3, H, W]."""
    return normaliser_of(loaded)(joined(images, loaded.device))
