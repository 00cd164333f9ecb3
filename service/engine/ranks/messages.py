"""What the replica and its ranks send each other.

A rank gets `Setup`. Rank 0 answers with an `Outline` before it reads the weights, and all with `Ready` or
`Failed` after it. Then rank 0 gets `Add` and `Cancel` and sends a
`Progress` after every step. It sends `Step` to the other ranks, which got every `Add` from it as well.
Without slots, a dataclass is pickled in half the time.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from service.engine.ranks.shared_memory import Region
from service.engine_options import EngineOptions, Quantization, RequestedDevice, RequestedDtype
from service.errors import StartupError
from service.prompt.outline import Outline
from service.prompt.reading import Positions, Sight
from service.protocol.request import FinishReason, RankTimeline, Sampling, TokenLogprobs
from service.protocol.stats import EngineDescription, RankStats


@dataclass(frozen=True)
class Setup:
    """What a rank loads, and where it meets the others: a store at `port` of 127.0.0.1.

    `directory` has the checkpoint, and `adapter` the LoRA adapter to merge into it, if any; `quantization` is
    the format of its linear layers.
    `gpus` is the number that Ray assigned to the replica. `threads` of torch are for all ranks together; None
    leaves the number to torch.
    """

    rank: int
    size: int
    port: int
    directory: str
    dtype: RequestedDtype
    device: RequestedDevice
    gpus: float
    max_tiles: int | None
    threads: int | None
    log_level: int
    options: EngineOptions
    adapter: str | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True)
class ImageSource:
    """Where the features of an image come from: its `tiles`, which are then stored in `pages`, if any.

    Tiles and other arrays of a few bytes are in the message itself, which is quicker than shared memory.

    Without tiles they are in the pages already, or come from the arrays of the checkpoint's processor.
    """

    key: object
    tiles: Region | np.ndarray | None
    pages: tuple[int, ...] = ()


@dataclass(frozen=True)
class Add:
    """A sequence to compute. `prompt` holds the token ids, int32; arrays are here or in memory sent along."""

    number: int
    prompt: np.ndarray
    sampling: Sampling
    limit: int
    images: tuple[ImageSource, ...] = ()
    extra: Mapping[str, Region | np.ndarray] = field(default_factory=dict)
    positions: Positions | None = None
    sight: Sight | None = None


@dataclass(frozen=True)
class Cancel:
    """A sequence whose answer is not needed any more."""

    number: int


@dataclass(frozen=True)
class ResetCounters:
    """Count from zero again: what was done so far was a trial."""


@dataclass(frozen=True)
class Ready:
    """The rank has its part of the model, `held_bytes` of weights.

    `context_length` is that of the description. The feature cache has `feature_pages` of
    `feature_page_bytes` each, one for a tile.
    """

    description: EngineDescription
    context_length: int
    held_bytes: int
    feature_pages: int = 0
    feature_page_bytes: int = 0


@dataclass(frozen=True)
class Failed:
    """The rank could not start; `refusal` has the sentence for the operator, if there is one."""

    reason: str
    refusal: StartupError | None = None


@dataclass(frozen=True)
class SequenceEnd:
    """How a sequence ended; without a reason it failed, and the log says why, or was cancelled."""

    number: int
    finish: FinishReason | None
    timeline: RankTimeline


@dataclass(frozen=True)
class Progress:
    """What has happened since the last one.

    `tokens` are the new ones, by sequence; some have `logprobs`, too. Sequences that have `begun` need their
    images no more: their features are in the pages that were given to them.
    """

    tokens: Mapping[int, list[int]]
    begun: tuple[int, ...]
    ended: tuple[SequenceEnd, ...]
    stats: RankStats
    logprobs: Mapping[int, list[TokenLogprobs]] = field(default_factory=dict)


@dataclass(frozen=True)
class Beat:
    """A sign of life. The present step has lasted `step_seconds`; the memory is that of the GPU, in bytes."""

    step_seconds: float
    memory_used: int = 0
    memory_total: int = 0


@dataclass(frozen=True)
class Stopped:
    """The rank is about to end, and why."""

    reason: str


@dataclass(frozen=True)
class LogLine:
    """A record for the log of the replica."""

    record: logging.LogRecord


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk of a step. `tokens` are those of the answer that the other ranks do not have yet.

    Its last ones may be a `draft`, which is not in the answer.
    """

    number: int
    start: int
    end: int
    pages: list[int]
    tokens: list[int]
    draft: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """What all ranks compute together, the `step`th time."""

    step: int
    chunks: tuple[PlannedChunk, ...]


@dataclass(frozen=True)
class ClearPage:
    """A page of the key-value cache to be zeroed."""

    page: int


@dataclass(frozen=True)
class Drop:
    """A sequence that has ended."""

    number: int


@dataclass(frozen=True)
class StepFailed:
    """A step failed on one rank."""

    step: int


FromRank = Outline | Ready | Failed | Progress | Beat | Stopped | LogLine
ToRank = Setup | Add | Cancel | ResetCounters
ToPeer = Add | Step | ClearPage | Drop
FromPeer = StepFailed
