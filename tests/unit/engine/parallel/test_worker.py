"""The worker's side of the protocol, with ranks that are played by the test."""

from collections import deque
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, cast

import pytest

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.parallel import worker as worker_module
from service.engine.parallel.group import RankGroup
from service.engine.parallel.load import ParallelModel
from service.engine.parallel.messages import Batch, Chosen, Ended, Failed, Finished, FromRank, ToRank
from service.engine.parallel.worker import ParallelWorker
from service.engine.request import FinishReason, Request, Sampling
from service.engine.sequence import Sequence
from service.engine.worker import Supervised
from service.errors import EngineStopped, ErrorCode
from tests.unit.engine.running import embedded

WORD = 5


class PlayedGroup:
    """Two ranks that say what the test puts into `said`."""

    size = 2

    def __init__(self) -> None:
        self.failure: str | None = None
        self.said = deque[tuple[int, FromRank]]()
        self.heard: list[tuple[int, ToRank]] = []

    def send(self, rank: int, message: ToRank) -> None:
        self.heard.append((rank, message))

    def receive(self, seconds: float) -> Iterator[tuple[int, FromRank]]:
        assert seconds <= 1
        while self.said:
            yield self.said.popleft()

    def fail(self, reason: str) -> None:
        self.failure = reason

    def check(self) -> None:
        if self.failure is not None:
            raise EngineStopped(self.failure)

    def close(self) -> None:
        self.failure = "closed"


@pytest.fixture
def group() -> PlayedGroup:
    return PlayedGroup()


@pytest.fixture
def worker(group: PlayedGroup) -> ParallelWorker:
    of_one: dict[str, Any] = {field.name: getattr(embedded(), field.name) for field in fields(LoadedModel)}
    loaded = ParallelModel(**of_one, group=cast("RankGroup", group))
    return ParallelWorker(loaded, silence_seconds=60)


def add(worker: ParallelWorker, *, limit: int = 3, **sampling: Any) -> Sequence:
    """A run of a prompt of two tokens."""
    run = Sequence(Request((), Sampling(limit, **sampling)), prompt=[7, 8], limit=limit)
    worker.add(run)
    return run


def step(worker: ParallelWorker, *said: tuple[int, FromRank]) -> bool:
    """A step in which the ranks say something; runs that are done are let go of, as the engine does."""
    cast("PlayedGroup", worker.group).said.extend(said)
    worked = worker.step(lambda: None)
    worker.retire()
    return worked


def test_only_rank_0_is_sent_the_tensors(worker: ParallelWorker, group: PlayedGroup) -> None:
    """Every rank is told of a batch, but its tensors travel once."""
    run = add(worker, temperature=0.5, seed=3)
    assert (worker.waiting, worker.active) == (1, 0)
    assert step(worker)
    assert (worker.waiting, worker.active) == (0, 1)
    (first, whole), (second, outline) = group.heard
    assert (first, second) == (0, 1)
    assert isinstance(whole, Batch)
    assert isinstance(outline, Batch)
    assert whole.inputs["input_ids"].content is not None
    assert outline == whole.outline
    assert (whole.rows[0].prompt, whole.rows[0].sampling) == ([7, 8], run.request.sampling)


def test_every_token_is_answered_with_the_rows_that_have_ended(
    worker: ParallelWorker, group: PlayedGroup
) -> None:
    """Rank 0 learns after each token which rows need no more: at their limit, their stop, or cancelled."""
    long, short, stopped, left = add(worker), add(worker, limit=1), add(worker), add(worker)
    step(worker)
    stop = min(embedded().stop_ids)
    step(worker, (0, Chosen([WORD, WORD, stop, WORD])))
    assert group.heard[-1] == (0, Ended([False, True, True, False]))
    left.cancelled = True
    step(worker, (0, Chosen([WORD, 0, 0, WORD])))
    assert group.heard[-1] == (0, Ended([False, True, True, True]))
    assert worker.active == 1
    step(worker, (0, Chosen([WORD, 0, 0, 0])))
    assert group.heard[-1] == (0, Ended([True, True, True, True]))
    assert (long.answer, short.answer, stopped.answer, left.answer) == ([WORD] * 3, [WORD], [], [WORD])
    assert (short.finish, stopped.finish) == (FinishReason.LENGTH, FinishReason.STOP)
    assert worker.decoded == 3 + 1 + 1 + 1


def test_a_batch_ends_when_every_rank_has_ended_it(worker: ParallelWorker, group: PlayedGroup) -> None:
    """The next batch is not begun before the last rank is through with this one."""
    add(worker, limit=1)
    step(worker)
    add(worker, limit=1)
    step(worker, (0, Chosen([WORD])), (0, Finished()))
    assert step(worker)
    assert worker.waiting == 1
    step(worker, (1, Finished()))
    assert step(worker)
    assert worker.waiting == 0
    assert group.failure is None


def test_a_batch_that_fails_everywhere_alike_fails_alone(worker: ParallelWorker, group: PlayedGroup) -> None:
    """When all ranks fail at the same token, its requests get an error and the next batch is served."""
    run = add(worker)
    step(worker)
    step(worker, (0, Failed("ValueError: no", tokens=0)), (1, Failed("ValueError: no", tokens=0)))
    assert run.error is not None
    assert run.error.code is ErrorCode.INTERNAL_ERROR
    worker.check()
    add(worker)
    assert step(worker)
    assert sum(isinstance(message, Batch) for _, message in group.heard) == 4


@pytest.mark.parametrize(
    "outcomes",
    [(Failed("?", tokens=1), Finished()), (Failed("?", tokens=1), Failed("?", tokens=0))],
    ids=["one", "both"],
)
def test_ranks_out_of_step_are_given_up(worker: ParallelWorker, outcomes: tuple[FromRank, FromRank]) -> None:
    """Ranks that ended a batch differently would never meet again, so the replica is to be replaced."""
    run, waiting = add(worker), add(worker)
    step(worker)
    step(worker, *enumerate(outcomes))
    with pytest.raises(EngineStopped, match="the 2 ranks are out of step after 0 tokens"):
        worker.check()
    assert not step(worker)
    assert run.error is not None
    assert waiting.error is not None


def test_a_rank_that_fails_alone_is_given_up_in_time(
    worker: ParallelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the others wait for a rank that has failed, nothing comes; after a while that is the end."""
    monkeypatch.setattr(worker_module, "AGREE_SECONDS", -1.0)
    run = add(worker)
    step(worker)
    step(worker, (1, Failed("?")))
    with pytest.raises(EngineStopped, match=r"ranks \[1\] of 2 failed where others go on"):
        worker.check()
    step(worker)
    assert run.error is not None


def test_silent_ranks_are_given_up(worker: ParallelWorker) -> None:
    """Ranks that say nothing for longer than the limit are lost."""
    worker.silence_seconds = -1.0
    add(worker)
    step(worker)
    step(worker)
    with pytest.raises(EngineStopped, match="ranks have been silent for 0 s; the limit is -1"):
        worker.check()


def test_requests_after_the_end_get_an_error(worker: ParallelWorker, group: PlayedGroup) -> None:
    """What comes after a rank was lost is not left waiting."""
    group.failure = "rank 1 of 2 was ended by signal 9"
    run = add(worker)
    assert step(worker)
    assert run.error is not None
    assert not step(worker)


def test_the_engine_can_supervise_it(worker: ParallelWorker) -> None:
    """The engine finds its hooks: a check, and an end."""
    assert isinstance(worker, Supervised)
