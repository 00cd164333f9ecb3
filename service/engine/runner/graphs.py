"""Decode steps recorded as CUDA graphs: one launch a step where each operation of each layer was one.

A graph is of fixed shape, so rows and lengths are rounded up to few sizes, and reads its inputs from buffers
that stay where they are. Rows beyond those in use write to free rows of the cache, which harms nobody.
"""

from collections import OrderedDict, abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from service.engine.pools import Pool
from service.engine.runner.cache import Cache
from service.engine.runner.language_model import LanguageModel
from service.engine.runner.rows import last_tokens, pool_of, rows_at
from service.engine.sequence import Sequence
from service.errors import DeviceError

SHORTEST = 256
GRAPHS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one pool in a recorded step: the first `rows`, within `length` cached tokens.

    Not the pool itself, which may go: another one that begins there with the same rows is the same to a step.
    """

    start: int
    capacity: int
    rows: int
    length: int


class Recording(Protocol):
    """A step that can be run again on what its buffers then hold; its result is `output`."""

    output: torch.Tensor

    def replay(self) -> None:
        """Run the step."""
        ...


Record = Callable[[Callable[[], torch.Tensor]], Recording]


@dataclass(frozen=True, slots=True)
class Step:
    """A recorded step and its buffers: `ids` and `positions` [B], the parts' rows one after the other."""

    ids: torch.Tensor
    positions: torch.Tensor
    recording: Recording


class DecodeGraphs:
    """Decodes through recorded steps; the least recently used are forgotten."""

    def __init__(self, decoder: LanguageModel, cache: Cache, record: Record) -> None:
        self.decoder = decoder
        self.cache = cache
        self.record = record
        self.steps: OrderedDict[tuple[Part, ...], Step] = OrderedDict()

    def decode(self, running: abc.Sequence[abc.Sequence[Sequence]]) -> torch.Tensor:
        """One token for every run: logits [B, V], as `LanguageModel.decode` gives them."""
        parts = tuple(map(_part, running))
        ids, positions = _padded(parts, running)
        step = self.steps.get(parts)
        if step is None:
            step = self.steps[parts] = self._record(parts, ids, positions)
            if len(self.steps) > GRAPHS_KEPT:
                self.steps.popitem(last=False)
        self.steps.move_to_end(parts)
        step.ids.copy_(ids)
        step.positions.copy_(positions)
        step.recording.replay()
        return _without_padding(step.recording.output, parts, running)

    def _record(self, parts: tuple[Part, ...], ids: torch.Tensor, positions: torch.Tensor) -> Step:
        # The buffers hold the real step while it is recorded: running it twice writes the same twice.
        device = self.cache.shape.device
        fixed_ids, fixed_positions = ids.to(device, copy=True), positions.to(device, copy=True)

        def step() -> torch.Tensor:
            shares = fixed_positions.split([part.rows for part in parts])
            pools = [
                rows_at(self.cache, Pool(part.start, part.capacity, part.rows), share, part.length)
                for part, share in zip(parts, shares, strict=True)
            ]
            return self.decoder.decode(fixed_ids, self.cache, pools)

        return Step(fixed_ids, fixed_positions, self.record(step))


def round_up(number: int, least: int) -> int:
    """The next power of two, `least` at least."""
    return max(least, 1 << (number - 1).bit_length())


def _part(runs: abc.Sequence[Sequence]) -> Part:
    pool = pool_of(runs)
    return Part(
        start=pool.start,
        capacity=pool.capacity,
        rows=min(pool.rows, round_up(len(runs), 1)),
        length=min(pool.capacity, round_up(max(run.filled for run in runs) + 1, SHORTEST)),
    )


def _padded(
    parts: abc.Sequence[Part], running: abc.Sequence[abc.Sequence[Sequence]]
) -> tuple[torch.Tensor, torch.Tensor]:
    ids, positions = list[int](), list[int]()
    for part, runs in zip(parts, running, strict=True):
        spare = [0] * (part.rows - len(runs))
        ids += last_tokens([runs]) + spare
        positions += [run.filled for run in runs] + spare
    return torch.tensor(ids), torch.tensor(positions)


def _without_padding(
    output: torch.Tensor, parts: abc.Sequence[Part], running: abc.Sequence[abc.Sequence[Sequence]]
) -> torch.Tensor:
    """The rows of `output` [B padded, V] that belong to runs."""
    shares = output.split([part.rows for part in parts])
    used = [share[: len(runs)] for runs, share in zip(running, shares, strict=True)]
    return used[0] if len(used) == 1 else torch.cat(used)


class CudaGraph:
    """See `Recording`. Raises DeviceError where the step cannot be recorded."""

    memory = None  # shared by all graphs, since only one runs at a time

    def __init__(self, step: Callable[[], torch.Tensor]) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # the first run sets up libraries, which a graph must not contain
            step()
        torch.cuda.current_stream().wait_stream(stream)
        CudaGraph.memory = CudaGraph.memory or torch.cuda.graph_pool_handle()
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph, pool=CudaGraph.memory):
                self.output = step()
        except RuntimeError as error:
            raise DeviceError(
                f"a decode step cannot be recorded as a CUDA graph ({error}); "
                "set CAPSTAN_CUDA_GRAPHS to false"
            ) from error

    def replay(self) -> None:
        """Run the step."""
        self.graph.replay()
