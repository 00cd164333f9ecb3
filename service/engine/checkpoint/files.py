"""The weight files of a checkpoint: which there are, and what their headers say."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from service.engine.checkpoint import json_file
from service.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

# Bytes of an element by the names that safetensors uses.
# Source: https://github.com/huggingface/safetensors#format
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file, not read yet. `view` is a safetensors slice."""

    view: Any
    shape: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of a number in the file."""
        return ITEM_BYTES.get(self.kind, 4)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file."""
        return self.elements * self.item_bytes

    def bytes_as(self, dtype: torch.dtype) -> int:
        """Bytes in memory once floating-point numbers are in `dtype`."""
        floating = self.kind.startswith(("F", "BF"))
        return self.elements * dtype.itemsize if floating else self.stored_bytes


class WeightFiles:
    """The open weight files of a checkpoint. Use as a context manager; closing ends all views."""

    def __init__(self, directory: Path) -> None:
        self._open: list[Any] = []
        self.tensors: dict[str, StoredTensor] = {}
        try:
            for name in _shards(directory):
                self._add(directory, name)
        except BaseException:
            self.close()
            raise

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
                f"weight file {name} is damaged or cut short ({error}); copy it anew"
            ) from error
        self._open.append(file)
        for key in file.keys():  # noqa: SIM118 - not a mapping
            view = file.get_slice(key)
            self.tensors[key] = StoredTensor(view, tuple(view.get_shape()), view.get_dtype())

    def bytes_as(self, dtype: torch.dtype) -> int:
        """Bytes that all tensors take in memory."""
        return sum(tensor.bytes_as(dtype) for tensor in self.tensors.values())

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors in the files."""
        return sum(tensor.stored_bytes for tensor in self.tensors.values())

    def close(self) -> None:
        """Let go of the files."""
        for file in self._open:
            file.__exit__(None, None, None)
        self._open.clear()

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
            raise CheckpointError(f"{INDEX} of the checkpoint has no weight_map; copy it anew")
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
        raise CheckpointError(f"{INDEX} names a weight file {name!r} outside the checkpoint; copy it anew")
    return name
