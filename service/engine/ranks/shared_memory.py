"""Tensors in memory that processes share: written once, then read in place.

The memory has no name and belongs to those that have it open, so none is left behind when one is killed.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import torch

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Region:
    """Where in the memory a tensor is: from byte `offset` on."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class SharedMemory:
    """Memory of one message. Close `descriptor` once it is sent; tensors stay as long as they are used."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor]) -> tuple["SharedMemory", list[Region]]:
        """Memory with copies of tensors of the CPU, and where each is."""
        memory, regions, offset = cls(_anonymous_file()), list[Region](), 0
        for tensor in tensors:
            content = tensor.detach().contiguous().flatten().view(torch.uint8).numpy()  # [bytes]
            view, end = memoryview(content.data), offset
            while view:
                written = os.pwrite(memory.descriptor, view, end)
                view, end = view[written:], end + written
            regions.append(Region(offset, tuple(tensor.shape), tensor.dtype))
            offset = -(-end // ALIGNMENT) * ALIGNMENT
        return memory, regions

    def tensors(self, regions: Sequence[Region]) -> list[torch.Tensor]:
        """The tensors, without a copy."""
        size = os.fstat(self.descriptor).st_size
        # A private mapping: writable, as torch wants it, while a write would change no other process.
        mapped = mmap.mmap(self.descriptor, size, access=mmap.ACCESS_COPY) if size else bytearray()
        return [_tensor(mapped, region) for region in regions]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def _tensor(mapped: mmap.mmap | bytearray, region: Region) -> torch.Tensor:
    count = 1
    for side in region.shape:
        count *= side
    if not count:
        return torch.empty(region.shape, dtype=region.dtype)
    flat = torch.frombuffer(mapped, dtype=region.dtype, count=count, offset=region.offset)  # [elements]
    return flat.view(region.shape)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("capstan")
    with tempfile.TemporaryFile() as file:  # a system other than Linux
        return os.dup(file.fileno())
