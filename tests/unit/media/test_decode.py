"""Image files from outside become upright, opaque RGB, or a clear refusal."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits, decode
from tests.support.images import MALFORMED, frames, gif, oriented, photo, png, saved, with_exif

LIMITS = ImageLimits()
REFUSED = [name for name, (_, code) in MALFORMED.items() if code is not None]


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


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_tells_nothing_of_the_inside(name: str) -> None:
    """A refusal is one sentence, without an object's address, a path or the name of a library's class."""
    message = refusal(MALFORMED[name][0]()).message
    assert message.startswith("image ")
    assert not any(word in message for word in ("0x", "<", "/usr", "Pillow", "PIL", "BytesIO", "Error", "\n"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    """Each of the eight EXIF orientations gives the upright image, in each format that has EXIF."""
    data = oriented(orientation, kind)
    opened = Image.open(io.BytesIO(data))
    expected = ImageOps.exif_transpose(opened)
    assert (expected.size == opened.size) == (orientation < 5)
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(expected))


@pytest.mark.parametrize(
    "tiff", [b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0\0\0\0\0", b"MM\0*", b"?" * 9]
)
def test_an_unknown_orientation_changes_nothing(tiff: bytes) -> None:
    """An orientation of 9, and EXIF that ends early or is nonsense, leave the pixels as they are."""
    plain = decode(saved(photo(), "JPEG"), LIMITS)
    assert np.array_equal(np.asarray(decode(with_exif(b"Exif\0\0" + tiff), LIMITS)), np.asarray(plain))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            ImageLimits(max_bytes=9),
            "image is 43 bytes; the limit is 9 (CAPSTAN_MAX_IMAGE_BYTES); scale it down",
        ),
        (
            ImageLimits(max_pixels=50_000_000),
            "image is 61.3 megapixels; the limit is 50 (CAPSTAN_MAX_PIXELS); scale it down",
        ),
        (
            ImageLimits(max_side=9_000),
            "image is 10000 x 6123 pixels; the limit is 9000 a side (CAPSTAN_MAX_IMAGE_SIDE); scale it down",
        ),
    ],
    ids=["bytes", "pixels", "side"],
)
def test_a_refusal_names_the_limit_and_its_setting(limits: ImageLimits, message: str) -> None:
    """A limit's refusal names the value, the limit, the setting and what to do."""
    error = refusal(gif((10_000, 6_123), (1, 1)), limits)
    assert (error.code, error.message) == (ErrorCode.IMAGE_TOO_LARGE, message)


def test_a_size_just_over_a_limit_is_not_rounded_to_the_limit() -> None:
    """The megapixels of a refusal are rounded up, so that they are never equal to the limit."""
    assert "image is 40.1 megapixels; the limit is 40 " in refusal(png(8_000, 5_001)).message


def test_pixels_are_limited_before_they_are_decoded() -> None:
    """Neither an image over a limit nor one without end gets as far as the decoder of its pixels."""
    with mock.patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError):
        assert refusal(png(10_000, 6_000)).code is ErrorCode.IMAGE_TOO_LARGE
        assert refusal(png(100_000, 100_000), ImageLimits(max_side=100_000)).code is ErrorCode.IMAGE_TOO_LARGE


def test_a_gif_gets_no_memory_before_its_limits() -> None:
    """A GIF's frame that is larger than its header says is refused before a canvas is made for it."""
    data = gif((1, 1), (30_000, 30_000), disposal=2)
    with mock.patch.object(Image.core, "fill", side_effect=AssertionError):
        assert refusal(data).code is ErrorCode.IMAGE_TOO_LARGE


def test_a_limit_above_pillow_s_own_holds() -> None:
    """A limit of more pixels than Pillow would take is obeyed."""
    limits = ImageLimits(max_pixels=900_000_000, max_side=100_000)
    with mock.patch.object(ImageFile.ImageFile, "load", side_effect=OSError):
        assert refusal(png(25_000, 25_000), limits).code is ErrorCode.INVALID_IMAGE
    assert "900.1 megapixels" in refusal(png(30_001, 30_001), limits).message


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_the_first_frame_counts(kind: str) -> None:
    """Of an animation the first frame is taken."""
    first = Image.open(io.BytesIO(frames(kind))).convert("RGB")
    assert np.array_equal(np.asarray(decode(frames(kind), LIMITS)), np.asarray(first))


def test_threads_do_not_disturb_each_other() -> None:
    """Files decoded at the same time give what each gives alone, and leave the warnings as they were."""
    files = [
        oriented(6),
        saved(photo(mode="RGBA")),
        frames("GIF"),
        with_exif(b"Exif\0\0II*\0" + b"\xff" * 9),
    ] * 8
    alone, filters = [np.asarray(decode(data, LIMITS)) for data in files], list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: np.asarray(decode(data, LIMITS)), files))
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))
    assert warnings.filters == filters


VALID = [
    *(saved(photo(24, 16), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")),
    saved(photo(24, 16, "P"), transparency=1),
    frames("PNG"),
    oriented(6),
]


def outcome(data: bytes) -> str:
    """What became of a file: a mode, or a code."""
    try:
        return decode(data, LIMITS).mode
    except RequestError as error:
        return error.code.value


OUTCOMES = ("RGB", "invalid_image", "unsupported_image", "image_too_large")
places = st.integers(0, 10_000)


@pytest.mark.slow
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Any bytes give an image or a RequestError."""
    assert outcome(data) in OUTCOMES


@given(
    st.sampled_from(VALID), st.lists(st.tuples(places, st.integers(0, 6), st.binary(max_size=6)), max_size=6)
)
def test_no_damage_raises_anything_else(data: bytes, damage: list[tuple[int, int, bytes]]) -> None:
    """A file of any format with bytes overwritten, left out or put in gives an image or a RequestError."""
    broken = bytearray(data)
    for at, gone, patch in damage:
        place = at % (len(broken) + 1)
        broken[place : place + gone] = patch
    assert outcome(bytes(broken)) in OUTCOMES


@given(st.sampled_from(VALID), places)
def test_no_early_end_raises_anything_else(data: bytes, end: int) -> None:
    """A file of any format that ends too early gives an image or a RequestError."""
    assert outcome(data[: end % len(data)]) in OUTCOMES
