"""What a model takes, and the builder's contract that makes it from a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from service.engine.request import Role


@dataclass(frozen=True, slots=True)
class DecodedTurn:
    """A turn whose images are decoded: RGB, upright, opaque."""

    role: Role
    content: tuple[str | Image.Image, ...]


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One prompt, ready for the model.

    `input_ids` holds an image token for every image feature. `pixels` are the images' tiles in reading order,
    float32 [T, 3, H, W], normalised, for families that take tiles; None without an image. `tiles_per_image`
    counts them image by image. `extra` is what another family's own processor made, batch dimension 1.
    """

    input_ids: list[int]
    pixels: np.ndarray | None = None
    tiles_per_image: tuple[int, ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def image_tiles(self) -> int:
        """The tiles of all images together."""
        return sum(self.tiles_per_image)


class InputBuilder(Protocol):
    """Turns a conversation into a model's inputs. CPU work, safe to call from several threads."""

    def build(self, turns: Sequence[DecodedTurn], *, max_tiles: int | None = None) -> ModelInputs:
        """Render the prompt, tokenise it and cut the images into tiles."""
        ...
