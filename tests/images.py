"""Odd and hostile image files, each with the code that refuses it, or None where it must be captioned."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from service.errors import ErrorCode

Maker = Callable[[], bytes]


def photo(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """An image with a gradient and some noise."""
    rng = np.random.default_rng(width * 10_007 + height)
    across = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    pixels = (across + rng.integers(0, 55, (height, width, 3))).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, rows: bytes | None = None, extra: bytes = b"") -> bytes:
    """A grey PNG file whose header may say anything."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(rows if rows is not None else b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flat(width: int, height: int) -> bytes:
    """A whole PNG file of one grey; small, however many pixels it has."""
    return png(width, height, rows=(b"\0" + b"\x80" * width) * height)


def frames(kind: str) -> bytes:
    """An animation of three frames."""
    images = [photo(32, 32), photo(32, 33).crop((0, 0, 32, 32)), photo(33, 32).crop((0, 0, 32, 32))]
    return saved(images[0], kind, save_all=True, append_images=images[1:], duration=50)


def sixteen_bits() -> bytes:
    """A 16-bit grey PNG file."""
    return saved(Image.fromarray(np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)))


def with_exif(exif: bytes) -> bytes:
    """A JPEG file with these bytes as EXIF."""
    return saved(photo(), "JPEG", exif=exif)


def oriented(orientation: int) -> bytes:
    """A JPEG file whose EXIF says how it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(photo(), "JPEG", exif=exif, quality=95)


def bad_checksum() -> bytes:
    """A PNG file whose pixel data has a wrong checksum."""
    data = bytearray(saved(photo()))
    data[-17] ^= 0xFF
    return bytes(data)


BROKEN, UNKNOWN, LARGE = ErrorCode.INVALID_IMAGE, ErrorCode.UNSUPPORTED_IMAGE, ErrorCode.IMAGE_TOO_LARGE

MALFORMED: dict[str, tuple[Maker, ErrorCode | None]] = {
    "empty": (lambda: b"", BROKEN),
    "text": (lambda: b"this is no image", UNKNOWN),
    "truncated JPEG": (lambda: saved(photo(), "JPEG")[:400], BROKEN),
    "truncated PNG": (lambda: saved(photo())[:-400], BROKEN),
    "truncated header": (lambda: saved(photo())[:20], BROKEN),
    "wrong extension": (lambda: saved(photo(), "BMP"), None),
    "1 x 1": (lambda: saved(photo(1, 1)), None),
    "1 x 20,000": (lambda: flat(1, 20_000), None),
    "side too long": (lambda: flat(1, 20_001), LARGE),
    "60 megapixels": (lambda: png(10_000, 6_000), LARGE),
    "header of 100,000 x 100,000": (lambda: png(100_000, 100_000), LARGE),
    "fewer rows than the header says": (lambda: png(500, 500), BROKEN),
    "animated GIF": (lambda: frames("GIF"), None),
    "animated WebP": (lambda: frames("WEBP"), None),
    "animated PNG": (lambda: frames("PNG"), None),
    "CMYK JPEG": (lambda: saved(photo(mode="CMYK"), "JPEG"), None),
    "grey JPEG": (lambda: saved(photo(mode="L"), "JPEG"), None),
    "black and white PNG": (lambda: saved(photo(mode="1")), None),
    "palette PNG": (lambda: saved(photo(mode="P")), None),
    "16-bit PNG": (sixteen_bits, None),
    "broken EXIF": (lambda: with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff"), None),
    "EXIF of nonsense": (lambda: with_exif(b"Exif\0\0" + b"\xff" * 50), None),
    "junk after the end": (lambda: saved(photo(), "JPEG") + b"\0" * 1000, None),
    "bad checksum": (bad_checksum, BROKEN),
    "text chunk of 200 MB": (
        lambda: png(8, 8, rows=(b"\0" + b"\x80" * 8) * 8, extra=chunk(b"zTXt", b"k\0\0" + BOMB)),
        BROKEN,
    ),
    "TIFF": (lambda: saved(photo(), "TIFF"), UNKNOWN),
    "icon": (lambda: saved(photo(32, 32), "ICO"), UNKNOWN),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNKNOWN),
    "PDF": (lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", UNKNOWN),
    "GIF without pixels": (lambda: b"GIF89a\0\0\0\0\0\0\0;", UNKNOWN),
    "WebP of a wrong length": (lambda: saved(photo(), "WEBP")[:60], BROKEN),
    "BMP of an absurd size": (
        lambda: b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 2**30, -(2**30), 1, 24) + b"\0" * 40,
        LARGE,
    ),
}

BOMB = zlib.compress(b"a" * 200_000_000)
