"""Convert decoded images of any mode to opaque 8-bit RGB."""

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)

# PNG's raw modes of less than 8 bits: Pillow scales their pixels to 0..255 by these factors.
SPREAD = {"L;2": 85, "L;4": 17}


def to_rgb(image: Image.Image, depth: str = "") -> Image.Image:
    """Convert an image to opaque RGB like Pillow's own convert, with transparency on white.

    `depth` is Pillow's raw mode of the pixels in the file, such as ``L;2`` or ``RGB;16B``, if known.
    """
    if image.mode.startswith("I"):
        return _high_bytes(image)
    if image.has_transparency_data:
        _scale_key(image, depth)
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, WHITE)
        canvas.paste(rgba, mask=rgba)
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_bytes(image: Image.Image) -> Image.Image:
    """Keep the high byte of 16-bit grays, as Pillow's readers do for 16-bit colors.

    Pillow's convert clips instead, which turns all but the darkest 256 of 65,536 grays white.
    """
    values = np.asarray(image)  # [H, W]
    gray = (values.clip(0, 65_535) >> 8).astype(np.uint8)  # [H, W]
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray[values == key] = 255
    return Image.fromarray(gray).convert("RGB")


def _scale_key(image: Image.Image, depth: str) -> None:
    """Scale PNG's transparent color to 8 bits like the pixels; Pillow leaves it at the depth of the file."""
    key = image.info.get("transparency")
    if depth in SPREAD and isinstance(key, int):
        factor = SPREAD[depth]
        image.info["transparency"] = key % (255 // factor + 1) * factor
    elif depth == "RGB;16B" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
