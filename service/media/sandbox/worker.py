"""The program of a decoding process. It holds no model, no secret and only the request it works on.

Imports Pillow and numpy and no other large package. A hostile file does its harm here: the kernel ends this
process when a file takes too long, and denies it more memory than the largest image needs.
"""

import contextlib
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from service.errors import RequestError
from service.media.decode import ImageLimits, decode
from service.media.tiles import TileSpec, cut

# Bytes of the file that follows; then the side, minimum and maximum of its tiles, and whether to add a
# thumbnail. A side of 0 requests the whole image.
REQUEST = struct.Struct("<Q4I")
# Width, height, bytes of an error; then the error, or a few pixels [H, W, 3]. Tiles are stacked vertically.
ANSWER = struct.Struct("<III")
READY = b"\1"

# More bytes of pixels return through shared memory, because a socket moves them in small pieces.
INLINE_BYTES = 64 * 1024
STRIP_BYTES = 2**20

# The limit counts CPU seconds, so that a busy machine refuses no image; WALL times as many seconds of real
# time end the process as well.
TOO_LATE = (signal.SIGPROF, signal.SIGALRM)
WALL = 3.0

# Copies of an image that a conversion holds at the same time, at 4 bytes a pixel, plus one spare.
COPIES = 7
SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one image may cost: the limits of the image itself, and CPU seconds."""

    limits: ImageLimits
    seconds: float

    @property
    def arguments(self) -> list[str]:
        """The bounds as command arguments."""
        limits = self.limits
        return [str(limits.max_bytes), str(limits.max_pixels), str(limits.max_side), repr(self.seconds)]

    @classmethod
    def parse(cls, arguments: list[str]) -> "Bounds":
        """Parse the bounds from command arguments."""
        *limits, seconds = arguments
        return cls(ImageLimits(*map(int, limits)), float(seconds))


def main(descriptor: int, shared: int, bounds: Bounds) -> None:
    """Decode files from the socket, one after another, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the replica
    for number in TOO_LATE:  # kills the process
        signal.signal(number, signal.SIG_DFL)
    memory = mmap.mmap(shared, shared_bytes(bounds.limits))
    _bound_memory(bounds.limits)
    silence = os.open(os.devnull, os.O_RDWR)
    channel = socket.socket(fileno=descriptor)
    channel.sendall(READY)
    for stream in (sys.stdout, sys.stderr):  # from here on, untrusted files shape what libraries print
        os.dup2(silence, stream.fileno())
    with channel:
        while (task := _receive(channel)) is not None:
            signal.setitimer(signal.ITIMER_PROF, bounds.seconds)
            signal.setitimer(signal.ITIMER_REAL, bounds.seconds * WALL)
            answer = _answer(*task, bounds.limits, memory)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(answer)


def shared_bytes(limits: ImageLimits) -> int:
    """Bytes of shared memory for the largest image; untouched pages cost nothing."""
    return max(limits.max_pixels * 3, INLINE_BYTES)


def request(data: bytes, spec: TileSpec | None) -> bytes:
    """Encode a request for the tiles of a file, or without `spec` for the whole image."""
    tiling = (spec.size, spec.min_tiles, spec.max_tiles, spec.thumbnail) if spec else (0, 0, 0, 0)
    return REQUEST.pack(len(data), *tiling) + data


def _answer(data: bytes, spec: TileSpec | None, limits: ImageLimits, memory: mmap.mmap) -> bytes:
    try:
        image: Image.Image = decode(data, limits)
    except RequestError as error:
        text = json.dumps([error.code, error.message]).encode()
        return ANSWER.pack(0, 0, len(text)) + text
    if spec is not None:
        tiles = cut(image, spec)
        return _pixels(spec.size, len(tiles) * spec.size, [tiles.tobytes()], memory)
    return _pixels(*image.size, _strips(image), memory)


def _pixels(width: int, height: int, strips: Iterable[bytes], memory: mmap.mmap) -> bytes:
    """Encode an answer with pixels; large ones go into shared memory."""
    head = ANSWER.pack(width, height, 0)
    if width * height * 3 <= INLINE_BYTES:
        return head + b"".join(strips)
    at = 0
    for strip in strips:
        memory[at : at + len(strip)] = strip
        at += len(strip)
    return head


def _strips(image: Image.Image) -> Iterator[bytes]:
    """Yield the pixels, several rows at a time."""
    rows = max(1, STRIP_BYTES // (image.width * 3))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


def _receive(channel: socket.socket) -> tuple[bytes, TileSpec | None] | None:
    """Return the next file and its tiling; None if the other end is closed."""
    head = channel.recv(REQUEST.size, socket.MSG_WAITALL)
    if len(head) < REQUEST.size:
        return None
    size, side, least, most, thumbnail = REQUEST.unpack(head)
    spec = TileSpec(side, most, least, thumbnail=bool(thumbnail)) if side else None
    return channel.recv(size, socket.MSG_WAITALL) if size else b"", spec


def _bound_memory(limits: ImageLimits) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - saves importing pathlib
        pages = int(file.read().split()[0])
    allowance = limits.max_pixels * 4 * COPIES + limits.max_bytes * 4 + SPARE_BYTES
    limit = pages * resource.getpagesize() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # If the machine runs out of memory, the kernel kills this process first, not the model's.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("1000")
