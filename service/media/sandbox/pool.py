"""The pool of decoding processes; a file that breaks one does not harm the replica."""

from collections.abc import Callable
from queue import LifoQueue
from typing import TypeVar

import numpy as np
from PIL import Image

from service.errors import StartupError
from service.media.sandbox.process import PROGRAM, DecodeProcess, ProcessEnded
from service.media.sandbox.worker import Bounds
from service.media.tiles import TileSpec

T = TypeVar("T")


class DecodePool:
    """One decoding process for each file decoded at the same time; replaces a process that breaks.

    Thread-safe: each call waits for a free process. Tests replace `program`, which each process runs.
    """

    def __init__(self, bounds: Bounds, *, processes: int, program: str = PROGRAM) -> None:
        self._bounds = bounds
        self._program = program
        self._all = [DecodeProcess(bounds, program) for _ in range(processes)]
        self._free = LifoQueue[DecodeProcess]()
        for process in self._all:
            self._free.put(process)
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [process.pid for process in self._all]

    def wait_until_ready(self) -> None:
        """Wait until every process has started. Raises StartupError if one does not."""
        for process in self._all:
            process.wait_until_ready()

    def decode(self, data: bytes) -> Image.Image:
        """Decode like `service.media.decode.decode`.

        Also raises RequestError with `invalid_image` for a file that crashes its decoder or exceeds its time.
        """
        return self._with_one(lambda process: process.decode(data))

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """Return the tiles of the image, uint8 [T, H, W, 3]. Raises like `decode`."""
        return self._with_one(lambda process: process.cut(data, spec))

    def close(self) -> None:
        """End all processes; files being decoded fail."""
        self._closed = True
        for process in self._all:
            process.end()

    def _with_one(self, work: Callable[[DecodeProcess], T]) -> T:
        process = self._free.get()
        try:
            return work(process)
        except (ProcessEnded, StartupError):
            process = self._replaced(process)
            return work(process)
        finally:
            if not process.alive:
                process = self._replaced(process)
            self._free.put(process)

    def _replaced(self, process: DecodeProcess) -> DecodeProcess:
        process.end()
        if self._closed:
            return process
        fresh = DecodeProcess(self._bounds, self._program)
        self._all[self._all.index(process)] = fresh
        return fresh
