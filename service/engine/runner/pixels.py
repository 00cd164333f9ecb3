"""Tiles of bytes become the numbers that a vision tower takes.

Tiles travel as bytes as far as the device: a fourth of what float32 takes in queues, pipes and on the bus.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from service.checkpoint.loaded import LoadedModel
from service.media.tiles import TileSpec


def joined(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """The tiles of images, each uint8 [T, H, W, 3], as one tensor of that form on the device."""
    tiles = torch.from_numpy(np.concatenate(images) if len(images) > 1 else images[0])
    if device.type == "cuda":  # from pinned memory the copy runs while the device computes
        return tiles.pin_memory().to(device, non_blocking=True)
    return tiles.to(device)


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Normalises bytes to float32, as torchvision's ToTensor and Normalize do.

    The three steps are theirs, each rounded to float32, so that the last bit is the same. The divisors are
    tensors of the device: by a plain number a GPU would multiply with its inverse.
    """

    white: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, spec: TileSpec, device: torch.device) -> Self:
        """For tiles of one kind."""
        return cls(*(torch.tensor(values, device=device) for values in (255.0, spec.mean, spec.std)))

    def repeated(self, times: int) -> "Normaliser":
        """The same for `times` pixels side by side in the last dimension: longer rows are quicker."""
        return Normaliser(self.white, self.mean.repeat(times), self.std.repeat(times))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Bytes [..., 3] as numbers."""
        return values.to(torch.float32).div_(self.white).sub_(self.mean).div_(self.std)


def normaliser_of(loaded: LoadedModel) -> Normaliser:
    """What normalises a model's tiles, on its device. Raises RuntimeError for a model that takes none."""
    tiling = loaded.inputs.tiling
    if tiling is None:
        raise RuntimeError(f"{loaded.architecture} models take no tiles")
    return Normaliser.of(tiling.spec, loaded.device)


def pixels(images: Sequence[np.ndarray], normalise: Normaliser, device: torch.device) -> torch.Tensor:
    """What vision towers of transformers take for images, each its tiles as uint8: float32 [T, 3, H, W]."""
    return normalise(joined(images, device)).permute(0, 3, 1, 2).contiguous()
