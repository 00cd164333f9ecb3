"""The weight files of a checkpoint: which there are, and what their headers say."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from service.checkpoint import json_file
from service.checkpoint.progress import Transfer
from service.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

# Number formats by the names that safetensors uses. The file begins with the header's length.
# Source: https://github.com/huggingface/safetensors#format
TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}
LENGTH_BYTES = 8

# A tensor is read in blocks of so many bytes, by so many threads for all tensors of a checkpoint: one thread
# waits for the disk where several keep it busy.
BLOCK_BYTES = 16 * 2**20
READERS = 8


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor in a file, read when it is indexed, as transformers' threads do.

    `view` is a safetensors slice of it. Its bytes begin at `offset` of the file of `descriptor`; `files` read
    and count them.
    """

    view: Any
    shape: tuple[int, ...]
    kind: str
    descriptor: int
    offset: int
    files: "WeightFiles"

    def __getitem__(self, index: object) -> torch.Tensor:
        """The whole tensor or a part. Raises CheckpointError at a short file."""
        tensor: torch.Tensor = self._read() if index is ... and self.kind in TYPES else self.view[index]
        self.files.transfer.add(tensor.numel() * self.item_bytes)
        return tensor

    def get_shape(self) -> list[int]:
        """The whole shape, which decides what part of the tensor a shard reads."""
        return list(self.shape)

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of a number in the file."""
        return TYPES[self.kind].itemsize if self.kind in TYPES else 4

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file."""
        return self.elements * self.item_bytes

    def _read(self) -> torch.Tensor:
        """The whole tensor in memory of its own. Unlike a mapped file this leaves no second copy."""
        tensor = torch.empty(self.shape, dtype=TYPES[self.kind], pin_memory=self.files.pinned)
        if tensor.numel():
            array: Any = tensor.view(-1).view(torch.uint8).numpy()
            target = memoryview(array)
            blocks = range(0, len(target), BLOCK_BYTES)
            list(self.files.readers.map(partial(self._read_block, target), blocks))
        return tensor

    def _read_block(self, target: memoryview, begin: int) -> None:
        end = min(begin + BLOCK_BYTES, len(target))
        while begin < end:
            count = os.preadv(self.descriptor, [target[begin:end]], self.offset + begin)
            if not count:
                raise CheckpointError("a weight file became shorter while it was read; copy it again")
            begin += count

    def bytes_as(self, dtype: torch.dtype) -> int:
        """Bytes in memory once floating-point numbers are in `dtype`."""
        floating = self.kind.startswith(("F", "BF"))
        return self.elements * dtype.itemsize if floating else self.stored_bytes


class WeightFiles:
    """The open weight files of a checkpoint. Use as a context manager; closing ends all views.

    Whole tensors are read into `pinned` memory, from where a GPU copies them.
    """

    def __init__(self, directory: Path, *, pinned: bool = False) -> None:
        self._undo = ExitStack()
        self.pinned = pinned
        self.readers = self._undo.enter_context(ThreadPoolExecutor(READERS, "weights"))
        self.tensors: dict[str, StoredTensor] = {}
        try:
            for name in _shards(directory):
                self._add(directory, name)
        except BaseException:
            self.close()
            raise
        self.transfer = Transfer("read", sum(tensor.stored_bytes for tensor in self.tensors.values()))

    def _add(self, directory: Path, name: str) -> None:
        try:
            file: Any = safe_open(directory / name, framework="pt", device="cpu")
        except FileNotFoundError as error:
            raise CheckpointError(
                f"checkpoint has no {name}, a weight file that {INDEX} names; "
                "copy it from the model's repository"
            ) from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"weight file {name} is damaged or cut short ({error}); copy it again"
            ) from error
        self._undo.push(file)
        plain = self._undo.enter_context((directory / name).open("rb"))
        length = int.from_bytes(plain.read(LENGTH_BYTES), "little")
        header, begin = json.loads(plain.read(length)), LENGTH_BYTES + length
        for key in file.keys():  # noqa: SIM118 - not a mapping
            view, offset = file.get_slice(key), begin + header[key]["data_offsets"][0]
            self.tensors[key] = StoredTensor(
                view, tuple(view.get_shape()), view.get_dtype(), plain.fileno(), offset, self
            )

    def bytes_as(self, dtype: torch.dtype) -> int:
        """Bytes that all tensors take in memory."""
        return sum(tensor.bytes_as(dtype) for tensor in self.tensors.values())

    def close(self) -> None:
        """Let go of the files."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shards(directory: Path) -> list[str]:
    """Names of the weight files, in order. Raises CheckpointError where there is none to be used."""
    if (directory / SINGLE).is_file():
        return [SINGLE]
    index = json_file.read_if_there(directory, INDEX)
    if index is not None:
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise CheckpointError(f"{INDEX} of the checkpoint has no weight_map; copy it again")
        return sorted({_plain(str(name)) for name in names.values()})
    pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"weights are in {pickles[0]}, a pickle, which can run code when it is read; "
            f"convert them to {SINGLE}"
        )
    raise CheckpointError(
        f"checkpoint has neither {SINGLE} nor {INDEX}; copy the weights from the model's repository"
    )


def _plain(name: str) -> str:
    """A shard's name. Raises CheckpointError for one that leads out of the checkpoint's directory."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CheckpointError(f"{INDEX} names a weight file {name!r} outside the checkpoint; copy it again")
    return name
