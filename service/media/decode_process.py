"""One decoding process, as the replica sees it."""

import contextlib
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import service
from service.errors import CapstanError, ErrorCode, RequestError, StartupError
from service.media.decode_worker import (
    ANSWER,
    INLINE_BYTES,
    READY,
    TOO_LATE,
    WALL,
    Bounds,
    request,
    shared_bytes,
)
from service.media.tiles import TileSpec, cut

# Whether an answer of this width and height, in pixels, can be one.
Fits = Callable[[int, int], bool]

START_SECONDS = 60.0
# The process ends itself in time; this is for one that cannot.
GRACE_SECONDS = 1.0

# The module search path travels along: Ray extends it inside the replica's process only.
PROGRAM = """
import sys
count = int(sys.argv[1])
sys.path[:] = sys.argv[2 : 2 + count]
from service.media.decode_worker import Bounds, main
channel, shared, *bounds = sys.argv[2 + count :]
main(int(channel), int(shared), Bounds.parse(bounds))
"""

# The process gets nothing else of the replica's environment, where secrets are.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
KEPT = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class ProcessEnded(CapstanError):  # noqa: N818 - a state of the process, not a mistake of ours
    """The process is gone: before it took the file, so that another may try it."""


class DecodeProcess:
    """A process that decodes one file at a time, over a pair of sockets that nobody else holds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._channel, other = socket.socketpair()
        shared = os.memfd_create("capstan-pixels", os.MFD_CLOEXEC)
        os.ftruncate(shared, shared_bytes(bounds.limits))
        self._memory = mmap.mmap(shared, shared_bytes(bounds.limits))
        self._inline = bytearray(ANSWER.size + INLINE_BYTES)
        with other:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                _command(other.fileno(), shared, bounds),
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno(), shared],
                env=ENVIRONMENT | {name: os.environ[name] for name in KEPT if name in os.environ},
            )
        os.close(shared)
        self._ready = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it has imported what it needs. Raises StartupError where it does not come so far."""
        if self._ready:
            return
        self._patience(START_SECONDS)
        try:
            self._ready = self._channel.recv(1) == READY
        except OSError:
            self._ready = False
        if not self._ready:
            self.end()
            raise StartupError(
                f"a decoding process did not start within {START_SECONDS:g} s; its own message is above; "
                "CAPSTAN_DECODE_PROCESSES=0 decodes in threads instead"
            )
        self._patience(self._bounds.seconds * WALL + GRACE_SECONDS)

    def decode(self, data: bytes) -> Image.Image:
        """See `service.media.decode.decode`; raises ProcessEnded where the process was gone beforehand.

        Afterwards, where the file has ended it, it is of no more use: `alive` tells.
        """
        limits = self._bounds.limits

        def fits(width: int, height: int) -> bool:
            return width * height <= limits.max_pixels and max(width, height) <= limits.max_side

        return Image.fromarray(self._ask(data, None, fits))

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """The image's tiles, uint8 [T, H, W, 3]; raises as `decode` does."""
        if spec.most_bytes > len(self._memory):  # the limit of pixels is below what the model takes
            return cut(self.decode(data), spec)

        def fits(width: int, height: int) -> bool:
            whole = width == spec.size and height % spec.size == 0
            return whole and width * height * 3 <= spec.most_bytes

        return self._ask(data, spec, fits).reshape(-1, spec.size, spec.size, 3)

    def _ask(self, data: bytes, spec: TileSpec | None, fits: Fits) -> np.ndarray:
        """What the process makes of a file, uint8 [H, W, 3]; of another size than `fits` it is broken."""
        self.wait_until_ready()
        try:
            self._channel.sendall(request(data, spec))
        except OSError as error:
            raise ProcessEnded from error
        try:
            return self._answer(fits)
        except (OSError, EOFError, MemoryError) as error:
            self.end()
            late = isinstance(error, BlockingIOError) or -(self._process.returncode or 0) in TOO_LATE
            raise self._given_up(late=late) from None

    @property
    def alive(self) -> bool:
        """Whether it can take another file."""
        return self._channel.fileno() >= 0

    def end(self) -> None:
        """End it at once, whatever it is doing."""
        self._process.kill()
        self._channel.close()
        self._memory.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel
            self._process.wait(GRACE_SECONDS)

    def _given_up(self, *, late: bool) -> RequestError:
        message = "image has broken its decoder; save it anew as a baseline JPEG or a PNG"
        if late:
            message = (
                f"image took more than {self._bounds.seconds:g} s to decode (CAPSTAN_DECODE_TIMEOUT); "
                "save it anew as a baseline JPEG or a PNG, or scale it down"
            )
        return RequestError(ErrorCode.INVALID_IMAGE, message, field="image")

    def _answer(self, fits: Fits) -> np.ndarray:
        # One look gets all of a small image, most often.
        at = self._receive(0, ANSWER.size)
        width, height, error_bytes = ANSWER.unpack_from(self._inline)
        if error_bytes:
            self._receive(at, ANSWER.size + min(error_bytes, INLINE_BYTES))
            raise _error(bytes(self._inline[ANSWER.size : ANSWER.size + error_bytes]))
        size = width * height * 3
        if not size or not fits(width, height):
            raise EOFError
        if size > INLINE_BYTES:
            pixels = np.frombuffer(self._memory, np.uint8, size).copy()
            self._memory.madvise(mmap.MADV_REMOVE)
        else:
            self._receive(at, ANSWER.size + size)
            pixels = np.frombuffer(self._inline, np.uint8, size, ANSWER.size).copy()
        return pixels.reshape(height, width, 3)

    def _receive(self, at: int, wanted: int) -> int:
        """Read on, until `wanted` bytes are in the buffer; how many there are."""
        with memoryview(self._inline) as buffer:
            while at < wanted:
                count = self._channel.recv_into(buffer[at:])
                if not count:
                    raise EOFError
                at += count
        return at

    def _patience(self, seconds: float) -> None:
        # The kernel's own time limit, not Python's: that would cost a look at the clock and a poll each time.
        whole, part = int(seconds), int(seconds % 1 * 1e6)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._channel.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, part))


def _command(channel: int, shared: int, bounds: Bounds) -> list[str]:
    path = [*sys.path, str(Path(service.__file__).parent.parent)]
    descriptors = [str(channel), str(shared)]
    return [
        sys.executable, "-I", "-S", "-c", PROGRAM, str(len(path)), *path, *descriptors, *bounds.arguments
    ]  # fmt: skip


def _error(text: bytes) -> RequestError:
    code, message = json.loads(text)
    return RequestError(ErrorCode(code), message, field="image")
