"""Image files from outside become upright, opaque RGB, or a clear refusal."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits, decode
from tests.images import MALFORMED, oriented, photo, png, saved

LIMITS = ImageLimits()


def refusal(data: bytes, limits: ImageLimits = LIMITS) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(data, limits)
    return caught.value


@pytest.mark.parametrize("name", MALFORMED)
def test_an_odd_file_becomes_an_image_or_its_refusal(name: str) -> None:
    """An odd file is decoded, or refused with the code that fits it."""
    make, expected = MALFORMED[name]
    if expected is None:
        image = decode(make(), LIMITS)
        assert image.mode == "RGB"
        assert min(image.size) >= 1
    else:
        error = refusal(make())
        assert (error.code, error.field) == (expected, "image")


@pytest.mark.parametrize("name", [name for name, (_, code) in MALFORMED.items() if code is not None])
def test_a_refusal_tells_nothing_of_the_inside(name: str) -> None:
    """No refusal carries an object's address, a path or the name of a library's class."""
    message = refusal(MALFORMED[name][0]()).message
    assert not any(word in message for word in ("0x", "<", "/usr", "Pillow", "PIL", "BytesIO", "Error"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_opaque_modes_are_converted_as_pillow_does(mode: str) -> None:
    """Opaque PNG files of any mode become what Pillow's convert gives, bit for bit."""
    data = saved(photo(mode=mode))
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_modes_are_converted_as_pillow_does(mode: str) -> None:
    """JPEG files of any mode become what Pillow's convert gives, bit for bit."""
    data = saved(photo(mode=mode), "JPEG")
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(mode: str) -> None:
    """What is transparent becomes white, what is half so becomes lighter, the rest stays."""
    image = Image.new(mode, (3, 1), (0,) * (len(mode) - 1) + (255,))
    image.putpixel((1, 0), (0,) * (len(mode) - 1) + (128,))
    image.putpixel((2, 0), (0,) * (len(mode) - 1) + (0,))
    assert np.asarray(decode(saved(image), LIMITS))[0, :, 0].tolist() == [0, 127, 255]


def test_a_transparent_colour_of_a_palette_lies_on_white() -> None:
    """A palette's transparent entry becomes white."""
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    pixels = np.asarray(decode(saved(image, transparency=1), LIMITS))
    assert pixels[0].tolist() == [[200, 0, 0], [255, 255, 255]]


def test_sixteen_bits_keep_their_tones() -> None:
    """A 16-bit image is scaled to 8 bits; Pillow's convert would make all but the darkest white."""
    values = np.array([[0, 257, 32_896, 65_535]], np.uint16)
    pixels = np.asarray(decode(saved(Image.fromarray(values)), LIMITS))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    """Each of the eight EXIF orientations gives the upright image."""
    from PIL import ImageOps  # noqa: PLC0415

    data = oriented(orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(expected))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ImageLimits(max_bytes=9), "CAPSTAN_MAX_IMAGE_BYTES"),
        (
            ImageLimits(max_pixels=2_000),
            "image is 0.003072 megapixels; the limit is 0.002 (CAPSTAN_MAX_PIXELS)",
        ),
        (
            ImageLimits(max_side=63),
            "image is 64 x 48 pixels; the limit is 63 a side (CAPSTAN_MAX_IMAGE_SIDE)",
        ),
    ],
    ids=["bytes", "pixels", "side"],
)
def test_each_limit_is_told_with_its_setting(limits: ImageLimits, message: str) -> None:
    """A limit's refusal names the value, the limit and the setting."""
    error = refusal(saved(photo()), limits)
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert message in error.message


def test_the_first_frame_counts() -> None:
    """Of an animation the first frame is taken."""
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert decode(data, LIMITS).getpixel((0, 0)) == (255, 0, 0)


def test_pixels_are_limited_before_they_are_decoded() -> None:
    """A header of 10,000 megapixels is refused without memory for them."""
    assert refusal(png(100_000, 100_000), ImageLimits(max_side=100_000)).code is ErrorCode.IMAGE_TOO_LARGE


VALID = [saved(photo(24, 16), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]


def outcome(data: bytes) -> str:
    """What became of a file: a mode, or a code."""
    try:
        return decode(data, LIMITS).mode
    except RequestError as error:
        return error.code.value


OUTCOMES = ("RGB", "invalid_image", "unsupported_image", "image_too_large")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Any bytes give an image or a RequestError."""
    assert outcome(data) in OUTCOMES


@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=6))
def test_no_damage_raises_anything_else(data: bytes, damage: list[tuple[int, bytes]]) -> None:
    """A file of any format with any bytes overwritten gives an image or a RequestError."""
    broken = bytearray(data)
    for at, patch in damage:
        place = at % len(broken)
        broken[place : place + len(patch)] = patch
    assert outcome(bytes(broken)) in OUTCOMES
