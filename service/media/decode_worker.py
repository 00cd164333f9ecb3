"""The process that decodes and cuts: it holds no model, no secret and no request but the one it works on.

Imports Pillow and numpy, nothing else of weight. What a file can do to a decoder, it does here: the kernel
ends this process when a file takes too long, and refuses it more memory than the largest image needs.
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

# Bytes of the file that follows; of its tiles the side, least and most, and whether there is a thumbnail. A
# side of 0 asks for the image as it is.
REQUEST = struct.Struct("<Q4I")
# Width, height, bytes of an error; then the error, or few pixels [H, W, 3]. Tiles stand one below the other.
ANSWER = struct.Struct("<III")
READY = b"\1"

# More pixels than these come back through shared memory: a socket takes them in small pieces.
INLINE_BYTES = 64 * 1024
STRIP_BYTES = 2**20

# Seconds of a limit are the processor's, so that a busy machine refuses no image; as many by the clock end it
# all the same.
TOO_LATE = (signal.SIGPROF, signal.SIGALRM)
WALL = 3.0

# Copies of an image that one conversion or another keeps at once, at 4 bytes a pixel, and one to spare.
COPIES = 7
SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one image may cost: the limits of the image itself, and the processor's seconds."""

    limits: ImageLimits
    seconds: float

    @property
    def arguments(self) -> list[str]:
        """These bounds as arguments of a command."""
        limits = self.limits
        return [str(limits.max_bytes), str(limits.max_pixels), str(limits.max_side), repr(self.seconds)]

    @classmethod
    def parse(cls, arguments: list[str]) -> "Bounds":
        """The bounds that `arguments` were made from."""
        *limits, seconds = arguments
        return cls(ImageLimits(*map(int, limits)), float(seconds))


def main(descriptor: int, shared: int, bounds: Bounds) -> None:
    """Decode what comes over the socket, one file after the other, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the replica
    for number in TOO_LATE:  # ends the process, whatever it is doing
        signal.signal(number, signal.SIG_DFL)
    memory = mmap.mmap(shared, shared_bytes(bounds.limits))
    _bound_memory(bounds.limits)
    silence = os.open(os.devnull, os.O_RDWR)
    channel = socket.socket(fileno=descriptor)
    channel.sendall(READY)
    for stream in (sys.stdout, sys.stderr):  # from here on, what libraries write comes from a stranger's file
        os.dup2(silence, stream.fileno())
    with channel:
        while (asked := _receive(channel)) is not None:
            signal.setitimer(signal.ITIMER_PROF, bounds.seconds)
            signal.setitimer(signal.ITIMER_REAL, bounds.seconds * WALL)
            answer = _answer(*asked, bounds.limits, memory)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(answer)


def shared_bytes(limits: ImageLimits) -> int:
    """The size of the memory for the pixels of the largest image; untouched, it costs nothing."""
    return max(limits.max_pixels * 3, INLINE_BYTES)


def request(data: bytes, spec: TileSpec | None) -> bytes:
    """What asks the process for a file's tiles, or without `spec` for the image."""
    wanted = (spec.size, spec.min_tiles, spec.max_tiles, spec.thumbnail) if spec else (0, 0, 0, 0)
    return REQUEST.pack(len(data), *wanted) + data


def _answer(data: bytes, spec: TileSpec | None, limits: ImageLimits, memory: mmap.mmap) -> bytes:
    try:
        image: Image.Image = decode(data, limits)
    except RequestError as error:
        text = json.dumps([error.code, error.message]).encode()
        return ANSWER.pack(0, 0, len(text)) + text
    if spec is not None:
        tiles = cut(image, spec)
        return _given(spec.size, len(tiles) * spec.size, [tiles.tobytes()], memory)
    return _given(*image.size, _strips(image), memory)


def _given(width: int, height: int, strips: Iterable[bytes], memory: mmap.mmap) -> bytes:
    """The answer with pixels; many of them go into shared memory."""
    head = ANSWER.pack(width, height, 0)
    if width * height * 3 <= INLINE_BYTES:
        return head + b"".join(strips)
    at = 0
    for strip in strips:
        memory[at : at + len(strip)] = strip
        at += len(strip)
    return head


def _strips(image: Image.Image) -> Iterator[bytes]:
    """The pixels, some rows at a time."""
    rows = max(1, STRIP_BYTES // (image.width * 3))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


def _receive(channel: socket.socket) -> tuple[bytes, TileSpec | None] | None:
    """The next file and how it is to be cut, or None where the other end is closed."""
    head = channel.recv(REQUEST.size, socket.MSG_WAITALL)
    if len(head) < REQUEST.size:
        return None
    size, side, least, most, thumbnail = REQUEST.unpack(head)
    spec = TileSpec(side, most, least, thumbnail=bool(thumbnail)) if side else None
    return channel.recv(size, socket.MSG_WAITALL) if size else b"", spec


def _bound_memory(limits: ImageLimits) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - saves importing pathlib
        pages = int(file.read().split()[0])
    room = limits.max_pixels * 4 * COPIES + limits.max_bytes * 4 + SPARE_BYTES
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the machine itself runs out of memory, this process goes first, not the model's.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("1000")
