"""Image files from outside become upright, opaque RGB images; limits hold before a pixel is decoded."""

import io
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass

# Importing the plugins registers them; Image.open would import all of Pillow's at the first WebP file.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from service.errors import ErrorCode, RequestError
from service.media.opaque import opaque
from service.media.scans import MAX_SCANS, has_too_many_scans
from service.media.size import too_many_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SIGNATURES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM|RIFF....WEBP", re.DOTALL)

# What Pillow's readers raise on damaged files. Fuzzing meets the first three; the others are in their code.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, MemoryError,
    AttributeError, AssertionError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip

# Pillow refuses twice this. It is the guard while a header is read: a GIF's plugin allocates already then.
PILLOW_PIXELS = 89_478_485

# Pillow warns of what it can read all the same.
QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

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
    """Bounds of an image: bytes of the file, pixels, and pixels of the longest side.

    No JPEG is longer than 65,535 pixels a side and no WebP than 16,383; 20,000 leaves room for panoramas and
    scrolled screenshots, and bounds the rows and columns that resizing works through.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    max_side: int = 20_000


def decode(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode the first frame of an image file: RGB, 8 bits, EXIF orientation applied, transparency on white.

    Safe to call from several threads. Raises RequestError with `invalid_image`, `unsupported_image` or
    `image_too_large`, and nothing else, whatever the bytes.
    """
    if len(data) > limits.max_bytes:
        raise too_many_bytes(len(data), limits.max_bytes)
    if not data:
        raise _invalid("image is empty; send the whole file")
    try:
        image = _open(data, limits)
        depth = str(image.tile[0].args) if image.tile else ""
        image.load()
    except UnidentifiedImageError:  # its text holds an object's address
        raise _unidentified(data) from None
    except DAMAGE as error:
        raise _damaged() from error
    return opaque(_upright(image), depth)


def _open(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = max(limits.max_pixels, PILLOW_PIXELS)
    if warnings.filters[:1] != [QUIET]:  # for good: catch_warnings() is not safe with threads
        warnings.filterwarnings("ignore", module=QUIET[3].pattern)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels(f"over {2 * Image.MAX_IMAGE_PIXELS / 1e6:.1f}", limits) from None
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise _too_large(f"{width} x {height} pixels", f"{limits.max_side} a side", "CAPSTAN_MAX_IMAGE_SIDE")
    if width * height > limits.max_pixels:
        raise _too_many_pixels(f"{math.ceil(width * height / 1e5) / 10:.1f}", limits)
    if image.format in {"JPEG", "MPO"} and has_too_many_scans(data):
        raise _invalid(f"image is a JPEG of more than {MAX_SCANS} scans; save it as a baseline JPEG")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # broken EXIF says nothing, but the pixels are there
        orientation = 1
    method = TRANSPOSED.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _unidentified(data: bytes) -> RequestError:
    if SIGNATURES.match(data):
        return _damaged()
    message = "image is of a format that is not accepted; send JPEG, PNG, WebP, GIF or BMP"
    return RequestError(ErrorCode.UNSUPPORTED_IMAGE, message, field="image")


def _damaged() -> RequestError:
    return _invalid("image is damaged or incomplete and cannot be decoded; send the whole, undamaged file")


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_IMAGE, message, field="image")


def _too_many_pixels(megapixels: str, limits: ImageLimits) -> RequestError:
    return _too_large(f"{megapixels} megapixels", f"{limits.max_pixels / 1e6:g}", "CAPSTAN_MAX_PIXELS")


def _too_large(value: str, limit: str, setting: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"image is {value}; the limit is {limit} ({setting}); scale it down",
        field="image",
    )
