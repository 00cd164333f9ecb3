"""Decoding in processes that a file may break without harm to the replica."""

from collections.abc import Callable
from queue import LifoQueue
from typing import TypeVar

import numpy as np
from PIL import Image

from service.errors import StartupError
from service.media.decode_process import DecodeProcess, ProcessEnded
from service.media.decode_worker import Bounds
from service.media.tiles import TileSpec

T = TypeVar("T")


class DecodePool:
    """As many decoding processes as there are files decoded at once; one that breaks is replaced.

    Safe to call from several threads; each waits for a process that is free.
    """

    def __init__(self, bounds: Bounds, *, processes: int) -> None:
        self._bounds = bounds
        self._all = [DecodeProcess(bounds) for _ in range(processes)]
        self._free = LifoQueue[DecodeProcess]()
        for process in self._all:
            self._free.put(process)
        self._closed = False

    def wait_until_ready(self) -> None:
        """Wait until every process has started. Raises StartupError where one does not."""
        for process in self._all:
            process.wait_until_ready()

    def decode(self, data: bytes) -> Image.Image:
        """See `service.media.decode.decode`.

        Besides, raises RequestError with `invalid_image` for a file that its decoder does not survive, or
        not in time.
        """
        return self._with_one(lambda process: process.decode(data))

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """The tiles of the image: uint8 [T, H, W, 3]. Raises as `decode` does."""
        return self._with_one(lambda process: process.cut(data, spec))

    def close(self) -> None:
        """End all processes; what they are decoding fails."""
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
        fresh = DecodeProcess(self._bounds)
        self._all[self._all.index(process)] = fresh
        return fresh
