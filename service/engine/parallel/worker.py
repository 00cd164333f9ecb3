"""The worker over several GPUs: batches that every rank computes in lockstep, a token a step."""

import logging
import time
from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch

from service.engine.parallel.load import ParallelModel
from service.engine.parallel.messages import Batch, Chosen, Ended, Failed, Finished, FromRank, Parcel, Row
from service.engine.runner.joining import join
from service.engine.runner.whole_batches import WholeBatches
from service.engine.sequence import Sequence
from service.engine.worker import Between, fault

logger = logging.getLogger("capstan.engine")

# A step waits this long for a token, so that deadlines and clients that leave are seen during long prefills.
STEP_SECONDS = 0.05
# When one rank says that it failed, the others say so within this time, or they never will.
AGREE_SECONDS = 5.0


@dataclass
class ActiveBatch:
    """A batch that the ranks compute. `rows` stay in place; `outcomes` is what each rank said at its end."""

    rows: list[Sequence]
    heard: float
    tokens: int = 0
    outcomes: dict[int, Finished | Failed] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether some rank failed."""
        return any(isinstance(outcome, Failed) for outcome in self.outcomes.values())

    @property
    def together(self) -> bool:
        """Whether all ranks ended at the same token, in the same way."""
        ends = {isinstance(outcome, Failed) and outcome.tokens for outcome in self.outcomes.values()}
        kinds = {type(outcome) for outcome in self.outcomes.values()}
        return len(ends) == len(kinds) == 1


class ParallelWorker(WholeBatches):
    """See `Worker`. A batch runs from its prompts to its last answer; others wait."""

    name = "parallel"

    def __init__(self, loaded: ParallelModel, *, silence_seconds: float) -> None:
        super().__init__(loaded)
        self.group = loaded.group
        self.silence_seconds = silence_seconds
        # Tensors are joined here and travel from here, so the replica itself never touches a GPU.
        self._joining = replace(loaded, device=torch.device("cpu"))
        self._active_batch: ActiveBatch | None = None

    def check(self) -> None:
        """Raise EngineStopped where a rank is lost."""
        self.group.check()

    def close(self) -> None:
        """End all ranks."""
        self.group.close()

    def step(self, between: Between) -> bool:  # noqa: ARG002 - a step is one token at most
        """Begin a batch, or take what the ranks have computed of it."""
        if self.group.failure is not None:
            return self._fault([*self._queue, *self._batch])
        if self._active_batch is None:
            return self._begin()
        self._follow(self._active_batch)
        return True

    def _begin(self) -> bool:
        batch = self._next_batch()
        if not batch:
            return False
        self._batch = batch
        try:
            parcels = {name: Parcel.of(tensor) for name, tensor in join(batch, self._joining).items()}
        except Exception:
            logger.exception("a batch of %d requests could not be joined", len(batch))
            return self._fault(batch)
        rows = tuple(Row(run.prompt, run.request.sampling, run.limit) for run in batch)
        whole = Batch(rows, parcels)
        for run in batch:
            run.inputs = None
        self._active_batch = ActiveBatch(list(batch), heard=time.monotonic())
        for rank in range(self.group.size):
            self.group.send(rank, whole if rank == 0 else whole.outline)
        self.prefilled += sum(len(run.prompt) for run in batch)
        return True

    def _follow(self, active: ActiveBatch) -> None:
        for rank, message in self.group.receive(STEP_SECONDS):
            active.heard = time.monotonic()
            self._hear(active, rank, message)
        silence = time.monotonic() - active.heard
        if len(active.outcomes) == self.group.size:
            self._settle(active)
        elif active.failed and silence > AGREE_SECONDS:
            self.group.fail(f"ranks {sorted(active.outcomes)} of {self.group.size} failed where others go on")
        elif silence > self.silence_seconds:
            self.group.fail(
                f"ranks have been silent for {silence:.0f} s; the limit is {self.silence_seconds:.0f}"
            )

    def _hear(self, active: ActiveBatch, rank: int, message: FromRank) -> None:
        if isinstance(message, Chosen):
            self._take(active, message.tokens)
        elif isinstance(message, Finished | Failed):
            active.outcomes[rank] = message

    def _take(self, active: ActiveBatch, tokens: abc.Sequence[int]) -> None:
        for run, token in zip(active.rows, tokens, strict=True):
            if not run.done:
                run.take(token, self.loaded.stop_ids)
                self.decoded += 1
        active.tokens += 1
        self.group.send(0, Ended([run.done for run in active.rows]))

    def _settle(self, active: ActiveBatch) -> None:
        """End a batch that every rank has ended."""
        self._active_batch = None
        if not active.together:
            self.group.fail(f"the {self.group.size} ranks are out of step after {active.tokens} tokens")
        self._fault(active.rows)

    def _fault(self, runs: Iterable[Sequence]) -> bool:
        """Tell those that still wait for an answer that there will be none."""
        left = [run for run in runs if not run.done]
        for run in left:
            run.error = fault()
        return bool(left)
