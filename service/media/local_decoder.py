"""Decoding in the thread that asks for it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.media import tiles
from service.media.decode import ImageLimits, decode
from service.media.tiles import TileSpec


@dataclass(frozen=True, slots=True)
class LocalDecoder:
    """Reads image files within limits; a file that breaks its decoder takes the whole process along."""

    limits: ImageLimits

    def decode(self, data: bytes) -> Image.Image:
        """See `service.media.decode.decode`."""
        return decode(data, self.limits)

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """The tiles of the image: uint8 [T, H, W, 3]. Raises as `decode` does."""
        return tiles.cut(decode(data, self.limits), spec)
