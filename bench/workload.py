"""What is measured: drawn images that no cache has seen, and requests for them."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from training.shapes import draw, random_scene

PROMPT = "Describe the image."
MAX_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and its true caption."""

    file: bytes
    caption: str

    @property
    def data_url(self) -> str:
        """The file as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.file).decode()


def samples(count: int, seed: int) -> list[Sample]:
    """Images of 112 x 112 pixels, all different; another seed gives others."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        scene, file = random_scene(rng), io.BytesIO()
        draw(scene, rng).save(file, "PNG")
        found.append(Sample(file.getvalue(), scene.caption))
    return found
