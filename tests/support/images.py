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
    """A gray PNG file whose header may say anything."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(rows if rows is not None else b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flat(width: int, height: int) -> bytes:
    """A whole PNG file of one gray; small, however many pixels it has."""
    return png(width, height, rows=(b"\0" + b"\x80" * width) * height)


def frames(kind: str) -> bytes:
    """An animation of three frames."""
    images = [photo(32, 32), photo(32, 33).crop((0, 0, 32, 32)), photo(33, 32).crop((0, 0, 32, 32))]
    return saved(images[0], kind, save_all=True, append_images=images[1:], duration=50)


def sixteen_bits() -> bytes:
    """A 16-bit gray PNG file."""
    return saved(Image.fromarray(np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)))


def with_exif(exif: bytes) -> bytes:
    """A JPEG file with these bytes as EXIF."""
    return saved(photo(), "JPEG", exif=exif)


def oriented(orientation: int, kind: str = "JPEG") -> bytes:
    """A file whose EXIF says how it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(photo(), kind, exif=exif)


def bad_checksum() -> bytes:
    """A PNG file whose pixel data has a wrong checksum."""
    data = bytearray(saved(photo()))
    data[-17] ^= 0xFF
    return bytes(data)


def patched(data: bytes, at: int, layout: str, value: int) -> bytes:
    """A file with one number overwritten."""
    whole = bytearray(data)
    struct.pack_into(layout, whole, at, value)
    return bytes(whole)


def ycck() -> bytes:
    """A JPEG file of four inks whose Adobe marker says that they are coded as YCCK."""
    data = saved(photo(mode="CMYK"), "JPEG")
    return patched(data, data.index(b"Adobe") + 11, "B", 2)


def text_bomb() -> bytes:
    """A PNG file whose text chunk unpacks to 64 MiB."""
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26), 1))
    return png(8, 8, rows=(b"\0" + b"\x80" * 8) * 8, extra=text)


def gif(screen: tuple[int, int], frame: tuple[int, int], *, disposal: int = 0) -> bytes:
    """A GIF file whose header and whose frame may have any size, and little data for either."""
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\0" * 6
    control = b"\x21\xf9\4" + bytes([disposal << 2]) + b"\0\0\0\0"
    return head + control + b"\x2c" + struct.pack("<4HB", 0, 0, *frame, 0) + b"\2\2\x4c\1\0;"


def many_scans(count: int = 400) -> bytes:
    """A progressive JPEG file that says its last scan `count` times more."""
    data = saved(photo(mode="L"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def bmp(width: int, height: int) -> bytes:
    """A BMP file whose header may say anything; a negative height puts the first row on top."""
    return b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, width, height, 1, 24) + b"\0" * 40


BROKEN, UNKNOWN, LARGE = ErrorCode.INVALID_IMAGE, ErrorCode.UNSUPPORTED_IMAGE, ErrorCode.IMAGE_TOO_LARGE

MALFORMED: dict[str, tuple[Maker, ErrorCode | None]] = {
    "empty": (lambda: b"", BROKEN),
    "text": (lambda: b"this is no image", UNKNOWN),
    "truncated JPEG": (lambda: saved(photo(), "JPEG")[:400], BROKEN),
    "truncated PNG": (lambda: saved(photo())[:-400], BROKEN),
    "truncated WebP": (lambda: saved(photo(), "WEBP")[:60], BROKEN),
    "truncated PNG header": (lambda: saved(photo())[:20], BROKEN),
    "truncated JPEG header": (lambda: saved(photo(), "JPEG")[:4], BROKEN),
    "wrong extension": (lambda: saved(photo(), "BMP"), None),
    "1 x 1": (lambda: saved(photo(1, 1)), None),
    "1 x 20,000": (lambda: flat(1, 20_000), None),
    "20,000 x 1": (lambda: flat(20_000, 1), None),
    "side too long": (lambda: flat(1, 20_001), LARGE),
    "60 megapixels": (lambda: png(10_000, 6_000), LARGE),
    "header of 100,000 x 100,000": (lambda: png(100_000, 100_000), LARGE),
    "header of 0 x 5": (lambda: png(0, 5), BROKEN),
    "fewer rows than the header says": (lambda: png(500, 500), BROKEN),
    "animated GIF": (lambda: frames("GIF"), None),
    "animated WebP": (lambda: frames("WEBP"), None),
    "animated PNG": (lambda: frames("PNG"), None),
    "CMYK JPEG": (lambda: saved(photo(mode="CMYK"), "JPEG"), None),
    "YCCK JPEG": (ycck, None),
    "gray JPEG": (lambda: saved(photo(mode="L"), "JPEG"), None),
    "progressive JPEG": (lambda: saved(photo(), "JPEG", progressive=True), None),
    "JPEG of 400 scans": (many_scans, BROKEN),
    "black and white PNG": (lambda: saved(photo(mode="1")), None),
    "palette PNG": (lambda: saved(photo(mode="P")), None),
    "transparent PNG": (lambda: saved(photo(mode="RGBA")), None),
    "16-bit PNG": (sixteen_bits, None),
    "broken EXIF": (lambda: with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff"), None),
    "EXIF of nonsense": (lambda: with_exif(b"Exif\0\0" + b"\xff" * 50), None),
    "junk after the end": (lambda: saved(photo(), "JPEG") + b"\0" * 1000, None),
    "bad checksum": (bad_checksum, BROKEN),
    "text chunk of 64 MiB": (text_bomb, BROKEN),
    "TIFF": (lambda: saved(photo(), "TIFF"), UNKNOWN),
    "icon": (lambda: saved(photo(32, 32), "ICO"), UNKNOWN),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNKNOWN),
    "PDF": (lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", UNKNOWN),
    "GIF without a frame": (lambda: b"GIF89a\4\0\4\0\0\0\0;", BROKEN),
    "GIF with a frame of 0 x 0": (lambda: gif((4, 4), (0, 0)), BROKEN),
    "GIF with a frame of 900 megapixels": (lambda: gif((1, 1), (30_000, 30_000), disposal=2), LARGE),
    "WebP of too long a length": (lambda: patched(saved(photo(), "WEBP"), 4, "<I", 100_000), BROKEN),
    "WebP of too short a length": (lambda: patched(saved(photo(), "WEBP"), 4, "<I", 100), BROKEN),
    "BMP of a negative height": (lambda: patched(saved(photo(), "BMP"), 22, "<i", -48), None),
    "BMP of an absurd size": (lambda: bmp(2**30, -(2**30)), LARGE),
    "BMP of a negative width": (lambda: bmp(-5, 5), LARGE),
}
