"""What an engine says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.media.tiles import Tiling
from service.protocol.chat_format import ChatFormat


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine is: fixed once it has started.

    `runner` is how the model is run, `slots` how many requests are decoded together, `context_length` the
    tokens of the longest prompt and answer together that the cache holds, `cache_bytes` its size. An engine
    of another `kind` is another server, which is named by `runner` and may not say the rest.
    `startup_seconds` says how long each phase of the start took: download, read, place, profile, capture.
    `tiling` is how the model cuts images, None where its own processor does or the engine does not say.
    `chat_format` is that of the model; what another engine has is its own business.
    """

    runner: str
    slots: int
    context_length: int | None
    cache_bytes: int
    dtype: str | None
    device: str | None
    kind: Literal["native", "command", "url"] = "native"
    startup_seconds: Mapping[str, float] = field(default_factory=dict)
    tiling: Tiling | None = field(default=None, repr=False)
    chat_format: ChatFormat = field(default_factory=ChatFormat)


@dataclass(frozen=True)
class RankStats:
    """What rank 0 has done and is doing; see `EngineStats`."""

    waiting: int = 0
    running: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    pages_used: int = 0
    pages_free: int = 0
    preempted: int = 0
    prefix_tokens: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    step_sequences: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """Seconds of work: what is done in a second, what waits, and what a request of those that wait takes."""

    rate: float
    queued: float
    request: float


@dataclass(frozen=True)
class EngineStats(RankStats):
    """What an engine has done and is doing.

    `waiting` and `running` count sequences; `finished`, `cancelled`, `failed` and `refused` requests by how
    they ended, `shared` those that another's sequence answered; `prefill_tokens` and `decode_tokens` what the
    model has read and written; hits and misses images. Pages are those of the key-value cache, `preempted`
    counts sequences that lost theirs to older ones, and `prefix_tokens` tokens of prompts that were in the
    cache already. `steps` of the model took `step_seconds` together and advanced `step_sequences` sequences,
    one counted in each of its steps. Of `drafted_tokens`, guesses, `accepted_tokens` were right.
    `memory_used` and `memory_total` are bytes of the GPU, 0 without one. `queue_limit` is how many requests
    can wait at this speed. `work` is None before anything was computed.
    """

    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    shared: int = 0
    feature_hits: int = 0
    feature_misses: int = 0
    feature_bytes: int = 0
    slots_free: int = 0
    memory_used: int = 0
    memory_total: int = 0
    queue_limit: int = 0
    work: Work | None = None
