"""The process that decodes: it holds no model, no secret and no request but the one it works on.

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
from dataclasses import dataclass

from PIL import Image

from service.errors import RequestError
from service.media.decode import ImageLimits, decode

REQUEST = struct.Struct("<Q")  # bytes of the file that follows
ANSWER = struct.Struct("<III")  # width, height, bytes of an error; then the error, or few pixels [H, W, 3]
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
        while (data := _receive(channel)) is not None:
            signal.setitimer(signal.ITIMER_PROF, bounds.seconds)
            signal.setitimer(signal.ITIMER_REAL, bounds.seconds * WALL)
            answer = _answer(data, bounds.limits, memory)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(answer)


def shared_bytes(limits: ImageLimits) -> int:
    """The size of the memory for the pixels of the largest image; untouched, it costs nothing."""
    return max(limits.max_pixels * 3, INLINE_BYTES)


def _answer(data: bytes, limits: ImageLimits, memory: mmap.mmap) -> bytes:
    try:
        image: Image.Image = decode(data, limits)
    except RequestError as error:
        text = json.dumps([error.code, error.message]).encode()
        return ANSWER.pack(0, 0, len(text)) + text
    head = ANSWER.pack(*image.size, 0)
    if image.width * image.height * 3 <= INLINE_BYTES:
        return head + image.tobytes()
    _share(image, memory)
    return head


def _share(image: Image.Image, memory: mmap.mmap) -> None:
    """Put the pixels into shared memory, some rows at a time."""
    rows, memory_at = max(1, STRIP_BYTES // (image.width * 3)), 0
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()
        memory[memory_at : memory_at + len(strip)] = strip
        memory_at += len(strip)


def _receive(channel: socket.socket) -> bytes | None:
    """The next file, or None where the other end is closed."""
    head = channel.recv(REQUEST.size, socket.MSG_WAITALL)
    if len(head) < REQUEST.size:
        return None
    size: int = REQUEST.unpack(head)[0]
    return channel.recv(size, socket.MSG_WAITALL) if size else b""


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
