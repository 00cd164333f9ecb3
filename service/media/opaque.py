"""Decoded images of any mode become opaque RGB images of 8 bits."""

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)

# PNG's raw modes of less than 8 bits: Pillow spreads their pixels over 0 to 255 by these factors.
SPREAD = {"L;2": 85, "L;4": 17}


def opaque(image: Image.Image, depth: str = "") -> Image.Image:
    """Opaque RGB: as Pillow's own convert gives it, but what is transparent lies on white.

    `depth` is Pillow's raw mode of the file's pixels, such as ``L;2`` or ``RGB;16B``, if known.
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
    """The high byte of 16-bit greys, which is what Pillow's readers keep of 16-bit colours.

    Pillow's convert would clip instead: all but the darkest 256 of 65,536 greys would be white.
    """
    values = np.asarray(image)  # [H, W]
    grey = (values.clip(0, 65_535) >> 8).astype(np.uint8)  # [H, W]
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")


def _scale_key(image: Image.Image, depth: str) -> None:
    """Bring PNG's transparent colour to 8 bits, as its pixels are; Pillow leaves it in the file's depth."""
    key = image.info.get("transparency")
    if depth in SPREAD and isinstance(key, int):
        factor = SPREAD[depth]
        image.info["transparency"] = key % (255 // factor + 1) * factor
    elif depth == "RGB;16B" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
