"""Image files from outside become upright, opaque RGB images; limits hold before a pixel is decoded."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError

from service.errors import ErrorCode, RequestError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
ACCEPTED = "JPEG, PNG, WebP, GIF and BMP are accepted"

# What Pillow's readers of these formats raise on damaged files.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
    AttributeError, struct.error, zlib.error, RuntimeError, AssertionError,
)  # fmt: skip

# The limits of this module are stricter and told in its own words.
Image.MAX_IMAGE_PIXELS = None

TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds of an image: bytes of the file, pixels, and pixels of the longest side."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    max_side: int = 20_000


def decode(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode the first frame of an image file: RGB, 8 bits, EXIF orientation applied, transparency on white.

    Raises RequestError with `invalid_image`, `unsupported_image` or `image_too_large`, and nothing else.
    """
    if len(data) > limits.max_bytes:
        raise _too_large(f"{len(data)} bytes", str(limits.max_bytes), "CAPSTAN_MAX_IMAGE_BYTES")
    if not data:
        raise RequestError(ErrorCode.INVALID_IMAGE, "image is empty", field="image")
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image, limits)
            image.load()
            return _flatten(_upright(image))
    except UnidentifiedImageError:
        raise RequestError(
            ErrorCode.UNSUPPORTED_IMAGE,
            f"image is of no known format, or its beginning is damaged; {ACCEPTED}",
            field="image",
        ) from None
    except DAMAGE as error:
        raise RequestError(
            ErrorCode.INVALID_IMAGE, "image is damaged or incomplete and cannot be decoded", field="image"
        ) from error


def _check_size(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise RequestError(ErrorCode.INVALID_IMAGE, "image has no pixels", field="image")
    if max(width, height) > limits.max_side:
        raise _too_large(f"{width} x {height} pixels", f"{limits.max_side} a side", "CAPSTAN_MAX_IMAGE_SIDE")
    if width * height > limits.max_pixels:
        raise _too_large(
            f"{width * height / 1e6:.4g} megapixels", f"{limits.max_pixels / 1e6:g}", "CAPSTAN_MAX_PIXELS"
        )


def _too_large(value: str, limit: str, setting: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"image is {value}; the limit is {limit} ({setting}); scale it down",
        field="image",
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # broken EXIF says nothing, but the pixels are there
        orientation = 1
    method = TRANSPOSED.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _flatten(image: Image.Image) -> Image.Image:
    """Opaque RGB as Pillow's own convert gives it, but what is transparent lies on white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode.startswith("I"):
        # 16 bits a pixel: convert() would clip all but the darkest 256 of 65,536 values to white.
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("RGB")
