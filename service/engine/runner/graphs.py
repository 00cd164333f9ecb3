"""Decode steps recorded as CUDA graphs: one launch a step where each operation of each layer was one.

A graph is of a fixed number of sequences and reads its inputs from buffers that stay where they are. All are
recorded before the first request. Sequences beyond those that decode write to a page that is kept for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from service.engine.attention.batch import Batch
from service.engine.attention.cache import Cache
from service.engine.attention.varlen import Layout, VarlenStep
from service.engine.runner.language_model import LanguageModel
from service.errors import DeviceError


def sizes(most: int) -> list[int]:
    """The numbers of sequences that steps are recorded for: 1, 2, 4, then multiples of 8 up to `most`."""
    return [1, 2, 4, *range(8, most + 7, 8)]


class Recording(Protocol):
    """A step that can be run again on what its buffers then hold; its result is `output`."""

    output: torch.Tensor

    def replay(self) -> None:
        """Run the step."""
        ...


Record = Callable[[Callable[[], torch.Tensor]], Recording]


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A recorded step and its buffers: `ids` and `positions` [B], and the layout of the batch."""

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    recording: Recording


class DecodeGraphs:
    """Decodes through recorded steps. The last page of the cache is theirs."""

    def __init__(self, language_model: LanguageModel, cache: Cache, record: Record, *, context: int) -> None:
        self.language_model = language_model
        self.cache = cache
        self.record = record
        self.context = context
        self.steps: dict[int, RecordedStep] = {}

    def capture(self, most: int) -> None:
        """Record all steps of up to `most` sequences, the largest first. Raises DeviceError."""
        for size in reversed(sizes(most)):
            self.steps[size] = self._record(size)

    def takes(self, batch: Batch) -> bool:
        """Whether there is a step for so many sequences."""
        return len(batch.counts) <= max(self.steps, default=0)

    def decode(self, ids: torch.Tensor, batch: Batch) -> torch.Tensor:
        """One token for every sequence: logits [B, V]."""
        count = len(batch.counts)
        step = self.steps[min(size for size in self.steps if size >= count)]
        table = torch.from_numpy(batch.block_table)  # [B, pages]
        step.ids[:count] = ids
        step.positions[:count] = torch.from_numpy(batch.positions)
        step.layout.slots[:count] = torch.from_numpy(batch.slots)
        step.layout.lengths[:count] = torch.tensor(batch.lengths, dtype=torch.int32)
        step.layout.block_table[:count, : table.shape[1]] = table
        # Whatever an earlier step left behind those in use goes to the spare page.
        step.positions[count:] = 0
        step.layout.slots[count:] = self._spare * self.cache.page_tokens
        step.layout.lengths[count:] = 1
        step.layout.block_table[count:] = self._spare
        step.recording.replay()
        return step.recording.output[:count]

    @property
    def _spare(self) -> int:
        return len(self.cache.keys[0]) - 1

    def _record(self, size: int) -> RecordedStep:
        device, page_tokens = self.cache.shape.device, self.cache.page_tokens
        whole = torch.int32
        layout = Layout(
            slots=torch.full((size,), self._spare * page_tokens, device=device),
            cu_seq_q=(each := torch.arange(size + 1, dtype=whole, device=device)),
            cu_seq_out=each,
            lengths=torch.ones(size, dtype=whole, device=device),
            block_table=torch.full(
                (size, -(-self.context // page_tokens)), self._spare, dtype=whole, device=device
            ),
            max_q=1,
            max_out=1,
            max_k=self.context,
        )
        ids, positions = (torch.zeros(size, dtype=torch.long, device=device) for _ in range(2))
        attention = VarlenStep(self.cache, layout)

        def step() -> torch.Tensor:
            return self.language_model(self.language_model.embed(ids), positions, attention, None)

        return RecordedStep(ids, positions, layout, self.record(step))


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
