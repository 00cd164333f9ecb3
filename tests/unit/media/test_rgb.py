"""Conversion of images of any mode to opaque RGB."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.media.decode import ImageLimits, decode
from service.media.rgb import to_rgb
from tests.support.images import chunk, photo, saved, ycck


def pixels(data: bytes) -> np.ndarray:
    """What a file is decoded to: [H, W, 3]."""
    return np.asarray(decode(data, ImageLimits()))


def png_of_row(row: bytes, width: int, bits: int, color: int, key: bytes) -> bytes:
    """A PNG file of one row, of any depth and color type, with a transparent color."""
    header = struct.pack(">IIBBBBB", width, 1, bits, color, 0, 0, 0)
    parts = (b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "YCbCr"])
def test_opaque_modes_are_converted_as_pillow_does(mode: str) -> None:
    """Each opaque mode of 8 bits or less becomes what Pillow's convert gives, bit for bit."""
    image = photo(mode=mode)
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_opaque_png_files_are_read_as_pillow_does(mode: str) -> None:
    """Opaque PNG files of any mode become what Pillow's convert gives, bit for bit."""
    image = photo(mode=mode)
    assert np.array_equal(pixels(saved(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("data", [*(saved(photo(mode=m), "JPEG") for m in ("RGB", "L", "CMYK")), ycck()])
def test_jpeg_files_are_read_as_pillow_does(data: bytes) -> None:
    """JPEG files of color, of gray and of four inks become what Pillow's convert gives, bit for bit."""
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_lies_on_white(mode: str) -> None:
    """Transparent pixels become white, half-transparent ones lighter, and opaque ones stay."""
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    image.putpixel((2, 0), (0, 0, 0, 0))
    assert np.asarray(to_rgb(image.convert(mode)))[0, :, 0].tolist() == [0, 127, 255]


@given(st.tuples(*[st.integers(0, 255)] * 4))
def test_transparency_is_blended_evenly(color: tuple[int, int, int, int]) -> None:
    """Any color of any opacity is blended with white to within one of the exact value."""
    *channels, alpha = color
    exact = [255 + (channel - 255) * alpha / 255 for channel in channels]
    found = np.asarray(to_rgb(Image.new("RGBA", (1, 1), color)))[0, 0]
    np.testing.assert_allclose(found, exact, atol=1)


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"], ids=["index", "table"])
def test_a_transparent_color_of_a_palette_lies_on_white(transparency: int | bytes) -> None:
    """A palette's transparent entry becomes white."""
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    assert pixels(saved(image, transparency=transparency))[0].tolist() == [[200, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("bits", "key", "row", "expected"),
    [
        (1, b"\0\0", b"\x40", [255, 255, 255, 255]),
        (2, b"\0\1", b"\x1b", [0, 255, 170, 255]),
        (4, b"\0\5", b"\x05\x67", [0, 255, 102, 119]),
        (8, b"\0\5", b"\0\5\x67\x78", [0, 255, 103, 120]),
        (16, b"\1\5", b"\0\5\1\5\x67\0\x78\0", [0, 255, 103, 120]),
    ],
)
def test_a_transparent_gray_lies_on_white(bits: int, key: bytes, row: bytes, expected: list[int]) -> None:
    """A PNG's transparent gray becomes white at every depth, and no other gray does."""
    assert pixels(png_of_row(row, 4, bits, 0, key))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("bits", "key", "row"),
    [
        (8, b"\0\x0a\0\x14\0\x1e", b"\x0a\x14\x1e\x0a\x14\x1f"),
        (16, b"\x0a\x80\x14\x80\x1e\x80", b"\x0a\x80\x14\x80\x1e\x80\x0a\x80\x14\x80\x1f\x80"),
    ],
)
def test_a_transparent_color_lies_on_white(bits: int, key: bytes, row: bytes) -> None:
    """A PNG's transparent color becomes white at either depth, and its neighbor does not."""
    assert pixels(png_of_row(row, 2, bits, 2, key))[0].tolist() == [[255, 255, 255], [10, 20, 31]]


def test_sixteen_bits_keep_their_tones() -> None:
    """A 16-bit image is scaled to 8 bits; Pillow's convert would make all but the darkest white."""
    values = np.array([[0, 257, 32_896, 65_535]], np.uint16)
    assert pixels(saved(Image.fromarray(values)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_thirty_two_bits_are_taken_as_sixteen() -> None:
    """Mode I, in which Pillow may hold 16-bit grays, is scaled alike, and bounded."""
    image = Image.fromarray(np.array([[-5, 257, 65_535, 70_000]], np.int32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 1, 255, 255]


def test_sixteen_bits_of_gray_and_of_color_agree() -> None:
    """A gray has the same 8 bits whether its file is gray or in color."""
    grays = np.arange(0, 65_536, 97, dtype=">u2")
    gray = png_of_row(grays.tobytes(), len(grays), 16, 0, b"\xff\xff")
    color = png_of_row(np.repeat(grays, 3).tobytes(), len(grays), 16, 2, b"\xff\xff\0\0\xff\xff")
    assert np.array_equal(pixels(gray), pixels(color))
