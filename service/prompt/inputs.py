"""What a model takes, and the builder's contract that makes it from a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np
from PIL import Image

from service.media.tiles import Tiling
from service.protocol.chat_format import ChatFormat
from service.protocol.request import Role


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image whose features are known already, so that nothing but its number of tiles is asked for."""

    tiles: int


NO_VARIABLES: Mapping[str, object] = MappingProxyType({})

# An image as it is, its tiles as uint8 [T, H, W, 3], or what is known of it.
Picture = Image.Image | np.ndarray | KnownImage


@dataclass(frozen=True, slots=True)
class DecodedTurn:
    """A turn whose images are decoded: RGB, upright, opaque; or cut; or known.

    `passed` are further fields for the chat template, such as `tool_calls`.
    """

    role: Role
    content: tuple[str | Picture, ...]
    passed: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One prompt, ready for the model.

    `input_ids` holds an image token for every image feature. `tiles` are, for families that take tiles, those
    of each image that is not known, in reading order, uint8 [T, H, W, 3]. `tiles_per_image` counts them for
    every image, known or not. `extra` is what another family's own processor made, batch dimension 1.
    """

    input_ids: list[int]
    tiles: tuple[np.ndarray, ...] = ()
    tiles_per_image: tuple[int, ...] = ()
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def image_tiles(self) -> int:
        """The tiles of all images together."""
        return sum(self.tiles_per_image)


class InputBuilder(Protocol):
    """Turns a conversation into a model's inputs. CPU work, safe to call from several threads."""

    @property
    def tiling(self) -> Tiling | None:
        """How images are cut; None where the checkpoint's own processor does it in its own way."""
        ...

    @property
    def chat_format(self) -> ChatFormat:
        """What the chat template has besides roles, texts and images."""
        ...

    def build(
        self, turns: Sequence[DecodedTurn], variables: Mapping[str, object] = NO_VARIABLES, /
    ) -> ModelInputs:
        """Render the prompt, tokenize it and cut the images into tiles.

        `variables` are those of the chat template that `chat_format` names: `tools`, `enable_thinking`.
        """
        ...
