"""Small image files that cost their decoder much, or mean to."""

import io
import struct
import zlib

from PIL import Image


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, extra: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(b"\0" * (width + 1) * min(height, 100)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + _chunk(b"IEND", b"")


def _jpeg(**options: bool) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((256, 192), 50).save(file, "JPEG", **options)
    return file.getvalue()


def _scans(count: int) -> bytes:
    data = _jpeg(progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


FILES: dict[str, bytes] = {
    "PNG of 10,000 megapixels": _png(100_000, 100_000),
    "PNG of 60 megapixels": _png(10_000, 6_000),
    "PNG that ends early": _png(3_000, 2_000),
    "text chunk of 64 MiB": _png(8, 8, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26), 1))),
    "profile of 64 MiB": _png(8, 8, _chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**26), 1))),
    "GIF of 900 megapixels": b"GIF89a\1\0\1\0\x80\0\0"
    + b"\0" * 6
    + b"\x2c"
    + struct.pack("<4HB", 0, 0, 30_000, 30_000, 0),
    "JPEG of 4,000 scans": _scans(4_000),
    "JPEG of 90 scans": _scans(90),
    "JPEG cut off": _jpeg()[:2_000],
    "text": b"this is no image",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "JPEG before HTML": _jpeg() + b"<script>alert(1)</script>",
}
