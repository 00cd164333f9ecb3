"""Whatever the bytes, decoding gives an image within its limits, or a refusal of the closed list."""

# ruff: noqa: PT017 - a refusal is one of the right answers

import struct
import zlib

import pytest
from hypothesis import strategies as st

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits, decode
from tests.fuzz.conftest import Fuzz
from tests.support.images import (
    MALFORMED,
    chunk,
    frames,
    many_scans,
    oriented,
    photo,
    png,
    saved,
    sixteen_bits,
)

pytestmark = pytest.mark.slow

# Small, so that an example is quick and a limit that does not hold shows.
LIMITS = ImageLimits(max_bytes=200_000, max_pixels=250_000, max_side=2_000)
REFUSALS = {ErrorCode.INVALID_IMAGE, ErrorCode.UNSUPPORTED_IMAGE, ErrorCode.IMAGE_TOO_LARGE}

SEEDS = [
    *(saved(photo(40, 30), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO")),
    *(saved(photo(40, 30, mode)) for mode in ("1", "P", "LA", "RGBA")),
    *(saved(photo(40, 30, mode), "JPEG", progressive=True) for mode in ("L", "CMYK")),
    *(frames(kind) for kind in ("WEBP", "PNG", "GIF")),
    *(MALFORMED[name][0]() for name in ("YCCK JPEG", "broken EXIF", "GIF without a frame")),
    oriented(6), sixteen_bits(), many_scans(50),
]  # fmt: skip
HEADS = [seed[:size] for seed in SEEDS for size in (4, 12, 40)]


def check(data: bytes) -> None:
    """Decode, and hold to the contract."""
    try:
        image = decode(data, LIMITS)
    except RequestError as error:
        assert error.code in REFUSALS
        assert error.message.startswith("image ")
        assert not any(sign in error.message for sign in ("0x", "<", "\n", "/usr", "PIL"))
    else:
        assert image.mode == "RGB"
        assert image.width * image.height <= LIMITS.max_pixels
        assert max(image.size) <= LIMITS.max_side
        assert len(image.tobytes()) == image.width * image.height * 3


def _damaged(parts: tuple[bytes, list[tuple[int, int, bytes]]]) -> bytes:
    data, damage = parts
    whole = bytearray(data)
    for at, length, replacement in damage:
        start = at % (len(whole) + 1)
        whole[start : start + length] = replacement
    return bytes(whole)


def _spliced(parts: tuple[bytes, bytes, int, int]) -> bytes:
    first, second, one, other = parts
    return first[: one % len(first)] + second[other % len(second) :]


seeds = st.sampled_from(SEEDS)
places = st.integers(0, 2**16)
damage = st.lists(st.tuples(places, st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=6)
numbers = st.sampled_from([0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(
    0, 2**32 - 1
)
chunks = st.builds(
    chunk,
    st.sampled_from(
        [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"sBIT"]
    ),
    st.binary(max_size=40)
    | st.binary(max_size=2000).map(lambda text: b"k\0\0" + zlib.compress(text * 50))
    | st.lists(numbers, max_size=8).map(lambda found: struct.pack(f">{len(found)}I", *found)),
)


def test_any_bytes(fuzz: Fuzz) -> None:
    """Bytes of any kind, behind the beginning of a real file or not, are decoded or refused."""
    fuzz(check, st.tuples(st.sampled_from([b"", *HEADS]), st.binary(max_size=500)).map(b"".join))


def test_damaged_files(fuzz: Fuzz) -> None:
    """Files with bytes overwritten, left out or put in are decoded or refused."""
    fuzz(check, st.tuples(seeds, damage).map(_damaged))


def test_spliced_files(fuzz: Fuzz) -> None:
    """The beginning of one file before the end of another is decoded or refused."""
    fuzz(check, st.tuples(seeds, seeds, places, places).map(_spliced))


def test_png_chunks(fuzz: Fuzz) -> None:
    """PNG files of any size, with chunks of valid checksums and any content, are decoded or refused."""
    sizes = st.integers(0, 3000) | numbers
    rows = st.none() | st.binary(max_size=2000)
    extra = st.lists(chunks, max_size=4).map(b"".join)
    fuzz(
        check,
        st.builds(lambda w, h, rows, extra: png(w, h, rows=rows, extra=extra), sizes, sizes, rows, extra),
    )
