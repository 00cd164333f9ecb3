"""What a replica and its ranks say to each other.

A rank is told `Setup`, answers `Ready` or `Failed`, and then waits for batches. In a batch rank 0 says
`Chosen` for every token of every row and is answered `Ended`; each rank ends it with `Finished` or `Failed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from service.engine.checkpoint.dtype import RequestedDtype
from service.engine.request import Sampling
from service.errors import StartupError


@dataclass(frozen=True, slots=True)
class Setup:
    """What a rank is to load and where it meets the others: a store at `port` of 127.0.0.1."""

    rank: int
    size: int
    port: int
    directory: str
    dtype: RequestedDtype
    device: torch.device
    max_tiles: int | None
    attention: str
    threads: int
    log_level: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """A tensor on its way; without `content` only its outline, for a rank that gets the rest from rank 0."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    content: np.ndarray | None

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        """A whole tensor of the CPU."""
        flat = tensor.contiguous().flatten()  # [elements]
        return cls(tuple(tensor.shape), tensor.dtype, flat.view(torch.uint8).numpy())

    @property
    def outline(self) -> "Parcel":
        """Shape and type alone."""
        return Parcel(self.shape, self.dtype, None)

    def tensor(self, device: torch.device) -> torch.Tensor:
        """The tensor on a device; of an outline, one whose numbers mean nothing yet."""
        if self.content is None:
            return torch.empty(self.shape, dtype=self.dtype, device=device)
        flat = torch.from_numpy(self.content).view(self.dtype)  # [elements]
        return flat.view(self.shape).to(device)


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt of a batch, how its tokens are chosen, and how many there may be."""

    prompt: list[int]
    sampling: Sampling
    limit: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of `generate` for all rows together, by name."""

    rows: tuple[Row, ...]
    inputs: Mapping[str, Parcel]

    @property
    def outline(self) -> "Batch":
        """The batch without the contents of its tensors."""
        return Batch(self.rows, {name: parcel.outline for name, parcel in self.inputs.items()})


@dataclass(frozen=True, slots=True)
class Ready:
    """The rank has its part of the model, which takes `held_bytes` of its memory."""

    held_bytes: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The next token of every row; for rows that have ended it means nothing."""

    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Ended:
    """Which rows need no more tokens."""

    rows: list[bool]


@dataclass(frozen=True, slots=True)
class Finished:
    """The rank is done with the batch."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The rank failed after `tokens` tokens of a row; while it loads, with the sentence for the operator."""

    reason: str
    tokens: int = 0
    refusal: StartupError | None = None


FromRank = Ready | Chosen | Finished | Failed
ToRank = Setup | Batch | Ended
