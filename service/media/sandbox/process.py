"""The replica's side of one decoding process."""

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
from service.media.sandbox.worker import (
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

# Whether an answer may have this width and height, in pixels.
Fits = Callable[[int, int], bool]

START_SECONDS = 60.0
# The process ends itself on timeout; this is for one that cannot.
GRACE_SECONDS = 1.0

# Pass the module search path: Ray extends it only inside the replica's process.
PROGRAM = """
import sys
count = int(sys.argv[1])
sys.path[:] = sys.argv[2 : 2 + count]
from service.media.sandbox.worker import Bounds, main
channel, shared, *bounds = sys.argv[2 + count :]
main(int(channel), int(shared), Bounds.parse(bounds))
"""

# The process gets no other variable of the replica, whose environment contains secrets.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
KEPT = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class ProcessEnded(CapstanError):  # noqa: N818 - a state of the process, not a fault
    """The process ended before it took the file, so another process may decode it."""


class DecodeProcess:
    """A process that decodes one file at a time, over a private socket pair."""

    def __init__(self, bounds: Bounds, program: str) -> None:
        self._bounds = bounds
        self._channel, other = socket.socketpair()
        shared = os.memfd_create("capstan-pixels", os.MFD_CLOEXEC)
        os.ftruncate(shared, shared_bytes(bounds.limits))
        self._memory = mmap.mmap(shared, shared_bytes(bounds.limits))
        self._inline = bytearray(ANSWER.size + INLINE_BYTES)
        with other:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                _command(program, other.fileno(), shared, bounds),
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
        """Wait until its imports are done. Raises StartupError if it does not get that far."""
        if self._ready:
            return
        self._set_timeout(START_SECONDS)
        try:
            self._ready = self._channel.recv(1) == READY
        except OSError:
            self._ready = False
        if not self._ready:
            self.end()
            raise StartupError(
                f"a decoding process did not start within {START_SECONDS:g} s; its error output is above; "
                "set CAPSTAN_DECODE_PROCESSES=0 to decode in threads instead"
            )
        self._set_timeout(self._bounds.seconds * WALL + GRACE_SECONDS)

    def decode(self, data: bytes) -> Image.Image:
        """Decode like `service.media.decode.decode`; raises ProcessEnded if the process had already ended.

        A file may end the process; check `alive` before the next file.
        """
        limits = self._bounds.limits

        def fits(width: int, height: int) -> bool:
            return width * height <= limits.max_pixels and max(width, height) <= limits.max_side

        return Image.fromarray(self._ask(data, None, fits))

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """Return the tiles of the image, uint8 [T, H, W, 3]; raises like `decode`."""
        if spec.most_bytes > len(self._memory):  # CAPSTAN_MAX_PIXELS is below what the model needs
            return cut(self.decode(data), spec)

        def fits(width: int, height: int) -> bool:
            whole = width == spec.size and height % spec.size == 0
            return whole and width * height * 3 <= spec.most_bytes

        return self._ask(data, spec, fits).reshape(-1, spec.size, spec.size, 3)

    def _ask(self, data: bytes, spec: TileSpec | None, fits: Fits) -> np.ndarray:
        """Return the pixels from the process, uint8 [H, W, 3]; a size that does not fit is an error."""
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
            raise self._decode_error(late=late) from None

    @property
    def alive(self) -> bool:
        """Whether the process can take another file."""
        return self._channel.fileno() >= 0

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._channel.close()
        self._memory.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
            self._process.wait(GRACE_SECONDS)

    def _decode_error(self, *, late: bool) -> RequestError:
        message = "image crashed its decoder; re-save it as a baseline JPEG or a PNG"
        if late:
            message = (
                f"image took more than {self._bounds.seconds:g} s to decode (CAPSTAN_DECODE_TIMEOUT); "
                "re-save it as a baseline JPEG or a PNG, or scale it down"
            )
        return RequestError(ErrorCode.INVALID_IMAGE, message, field="image")

    def _answer(self, fits: Fits) -> np.ndarray:
        # One read usually returns all of a small image.
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

    def _receive(self, at: int, end: int) -> int:
        """Read until the buffer holds `end` bytes or more; return how many it holds."""
        with memoryview(self._inline) as buffer:
            while at < end:
                count = self._channel.recv_into(buffer[at:])
                if not count:
                    raise EOFError
                at += count
        return at

    def _set_timeout(self, seconds: float) -> None:
        # A timeout in the kernel: Python's own costs a clock read and a poll on every call.
        whole, part = int(seconds), int(seconds % 1 * 1e6)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._channel.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, part))


def _command(program: str, channel: int, shared: int, bounds: Bounds) -> list[str]:
    path = [*sys.path, str(Path(service.__file__).parent.parent)]
    descriptors = [str(channel), str(shared)]
    return [
        sys.executable, "-I", "-S", "-c", program, str(len(path)), *path, *descriptors, *bounds.arguments
    ]  # fmt: skip


def _error(text: bytes) -> RequestError:
    code, message = json.loads(text)
    return RequestError(ErrorCode(code), message, field="image")
