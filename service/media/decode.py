"""Decode untrusted image files into upright, opaque RGB images. Limits apply before a pixel is decoded."""

import io
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Importing the plugins registers them; otherwise Image.open imports all of Pillow's at the first WebP file.
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
from service.media import tiles
from service.media.rgb import to_rgb
from service.media.tiles import TileSpec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SIGNATURES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM|RIFF....WEBP", re.DOTALL)

# What Pillow's readers raise for damaged files. Fuzzing meets the first three; the others are in their code.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, MemoryError,
    AttributeError, AssertionError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip

# Pillow refuses twice this many. It guards the reading of headers, when the GIF plugin already allocates.
PILLOW_PIXELS = 89_478_485

# Pillow warns about files that it can read all the same.
QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# Each scan of a JPEG is a pass over the whole image, so a few hundred kilobytes can hold a decoder for
# minutes (https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf). Encoders write a
# few dozen.
MAX_SCANS = 100
START_OF_SCAN = b"\xff\xda"
MARKER = re.compile(rb"\xff+([^\x00\xff])")  # ff 00 is a byte of pixel data
END_OF_IMAGE = 0xD9
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

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
    """Limits of an image: bytes of the file, pixels, and pixels of the longest side.

    JPEG allows 65,535 pixels a side and WebP 16,383. 20,000 accepts panoramas and scrolling screenshots, and
    bounds the rows and columns that resizing processes.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    max_side: int = 20_000


def decode(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode the first frame of an image file: RGB, 8 bits, EXIF orientation applied, transparency on white.

    Thread-safe. Whatever the bytes, raises only RequestError, with `invalid_image`, `unsupported_image` or
    `image_too_large`.
    """
    if len(data) > limits.max_bytes:
        raise too_many_bytes(len(data), limits.max_bytes)
    if not data:
        raise _invalid("image is empty; send the complete file")
    try:
        image = _open(data, limits)
        depth = str(image.tile[0].args) if image.tile else ""
        image.load()
    except UnidentifiedImageError:  # its text contains an object's address
        raise _unidentified(data) from None
    except DAMAGE as error:
        raise _damaged() from error
    return to_rgb(_upright(image), depth)


class ImageDecoder(Protocol):
    """Reads image files. Safe to call from several threads; raises RequestError for what it cannot take."""

    def decode(self, data: bytes) -> Image.Image:
        """The image: RGB, upright, opaque."""
        ...

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """The image's tiles: uint8 [T, H, W, 3]."""
        ...


@dataclass(frozen=True, slots=True)
class LocalDecoder:
    """Decodes in the calling thread. A file that crashes the decoder crashes the whole process."""

    limits: ImageLimits

    def decode(self, data: bytes) -> Image.Image:
        """See `service.media.decode.decode`."""
        return decode(data, self.limits)

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """The tiles of the image: uint8 [T, H, W, 3]. Raises as `decode` does."""
        return tiles.cut(decode(data, self.limits), spec)


def too_many_bytes(size: int, limit: int, *, field: str = "image", at_least: bool = False) -> RequestError:
    """The error for a file of `size` bytes, or of `at_least` as many."""
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"image is {'at least ' if at_least else ''}{size} bytes; "
        f"the limit is {limit} (CAPSTAN_MAX_IMAGE_BYTES); scale it down",
        field=field,
    )


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG file has more than `MAX_SCANS` scans before its end (ITU-T T.81, annex B)."""
    if data.count(START_OF_SCAN) <= MAX_SCANS:
        return False
    # The markers may belong to a thumbnail, or to a video that a camera appended.
    scans, at = 0, 0
    while found := MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            return False
        if marker in WITHOUT_LENGTH:
            continue
        scans += marker == START_OF_SCAN[1]
        if scans > MAX_SCANS:
            return True
        at += int.from_bytes(data[at : at + 2])
    return False


def _open(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = max(limits.max_pixels, PILLOW_PIXELS)
    if warnings.filters[:1] != [QUIET]:  # permanently: catch_warnings() is not thread-safe
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
        raise _invalid(f"image is a JPEG with more than {MAX_SCANS} scans; save it as a baseline JPEG")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # broken EXIF does not make the pixels unreadable
        orientation = 1
    method = TRANSPOSED.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _unidentified(data: bytes) -> RequestError:
    if SIGNATURES.match(data):
        return _damaged()
    message = "image has an unsupported format; send JPEG, PNG, WebP, GIF or BMP"
    return RequestError(ErrorCode.UNSUPPORTED_IMAGE, message, field="image")


def _damaged() -> RequestError:
    return _invalid("image is damaged or incomplete and cannot be decoded; send the complete, undamaged file")


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
