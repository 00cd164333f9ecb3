"""Arrays in memory that processes share: written once, then read in place.

The memory has no name and belongs to those that have it open, so none is left behind when one is killed.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 64


@dataclass(frozen=True)
class Region:
    """Where in the memory an array is: from byte `offset` on. `dtype` is spelled as numpy does."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedMemory:
    """Memory of one message. Close `descriptor` once it is sent; arrays stay as long as they are used."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> tuple["SharedMemory", list[Region]]:
        """Memory with copies of arrays, and where each is."""
        memory, regions, offset = cls(_anonymous_file()), list[Region](), 0
        for array in arrays:
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # [bytes]
            view, end = memoryview(content.data), offset
            while view:
                written = os.pwrite(memory.descriptor, view, end)
                view, end = view[written:], end + written
            regions.append(Region(offset, array.shape, array.dtype.str))
            offset = -(-end // ALIGNMENT) * ALIGNMENT
        return memory, regions

    def arrays(self, regions: Sequence[Region]) -> list[np.ndarray]:
        """The arrays, without a copy."""
        size = os.fstat(self.descriptor).st_size
        # A private mapping: writable, as torch wants it, while a write would change no other process.
        mapped = mmap.mmap(self.descriptor, size, access=mmap.ACCESS_COPY) if size else bytearray()
        return [_array(mapped, region) for region in regions]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def _array(mapped: mmap.mmap | bytearray, region: Region) -> np.ndarray:
    dtype = np.dtype(region.dtype)
    if 0 in region.shape:
        return np.empty(region.shape, dtype)
    return np.ndarray(region.shape, dtype, mapped, region.offset)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("capstan")
    with tempfile.TemporaryFile() as file:  # a system other than Linux
        return os.dup(file.fileno())
