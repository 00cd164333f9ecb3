"""Rank 0 and another rank, which compute the same steps."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from service.checkpoint.load import load
from service.engine.executor import Executor, FromPeer, LeadingExecutor, LocalExecutor, ToPeer, follow
from service.engine.features import FeatureStore
from service.engine.ranks.channel import Channel
from service.engine.ranks.messages import Add, StepFailed
from service.engine.ranks.sequences import sequence_of
from service.engine.runner.fused import FusedRunner
from service.engine.scheduler import Chunk
from service.engine.sequence import Sequence
from service.errors import EngineStopped
from service.protocol.request import Sampling
from service.settings import EMBEDDED_MODEL

PROMPT = np.arange(10, 20, dtype=np.int32)


class Recording(LocalExecutor):
    """A rank that keeps the logits it computes."""

    def __init__(self) -> None:
        super().__init__(FusedRunner(load(str(EMBEDDED_MODEL))), FeatureStore(None, 0))
        self.runner.allocate(4, 16)
        self.logits: list[torch.Tensor] = []
        self.dropped: list[int] = []

    def compute(self, chunks: list[Chunk]) -> torch.Tensor:  # type: ignore[override]
        self.logits.append(super().compute(chunks))
        return self.logits[-1]

    def drop(self, sequence: Sequence) -> None:
        self.dropped.append(sequence.number)
        super().drop(sequence)


@pytest.fixture
def ranks() -> Iterator[tuple[LeadingExecutor, Recording, Recording]]:
    """Rank 0, what it computes, and what another rank computes in a thread."""
    here, other = Channel[FromPeer, ToPeer].pair()
    leader, local, peer = Channel[ToPeer, FromPeer](other), Recording(), Recording()
    thread = threading.Thread(target=follow, args=(peer, leader, None))
    thread.start()
    yield LeadingExecutor(local, [here]), local, peer
    here.close()
    thread.join(10)
    leader.close()


def started(leading: LeadingExecutor) -> Sequence:
    message = Add(7, PROMPT, Sampling(9), limit=9)
    leading.forward(message, None)
    sequence = sequence_of(message, None, None)
    sequence.pages = [2, 1]
    return sequence


def computed(executor: Executor, sequence: Sequence, start: int, end: int) -> torch.Tensor:
    with torch.inference_mode():
        return executor.compute([Chunk(sequence, start, end)])


def test_every_rank_computes_the_same_steps(
    ranks: tuple[LeadingExecutor, Recording, Recording],
) -> None:
    """Prompt and answer reach the other rank, which computes the same logits and drops the sequence."""
    leading, local, peer = ranks
    sequence = started(leading)
    computed(leading, sequence, 0, 10)
    sequence.answer += [30, 31]
    computed(leading, sequence, 10, 12)
    leading.drop(sequence)
    leading.peers[0].close()
    while not peer.dropped:
        pass
    assert [part.shape for part in peer.logits] == [part.shape for part in local.logits]
    for mine, its in zip(local.logits, peer.logits, strict=True):
        torch.testing.assert_close(mine, its)


def test_a_step_that_fails_everywhere_fails_alone(
    ranks: tuple[LeadingExecutor, Recording, Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of all ranks at the same step is that step's; the next one works."""
    leading, local, _ = ranks
    sequence = started(leading)
    with monkeypatch.context() as patch:
        patch.setattr(FusedRunner, "run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            computed(leading, sequence, 0, 10)
    computed(leading, sequence, 0, 10)
    assert len(local.logits) == 1
    assert leading.lost() is None


def test_a_step_that_fails_on_rank_0_alone_stops_the_engine(
    ranks: tuple[LeadingExecutor, Recording, Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of which one alone failed would wait for each other forever."""
    leading, local, _ = ranks
    monkeypatch.setattr("service.engine.executor.AGREE_SECONDS", 0.1)
    monkeypatch.setattr(local, "compute", lambda _: 1 / 0)
    with pytest.raises(EngineStopped, match="failed on some ranks alone"):
        computed(leading, started(leading), 0, 10)


def test_a_step_that_fails_on_another_rank_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that rank 0 does not share is a reason to stop once it has had time to."""
    monkeypatch.setattr("service.engine.executor.AGREE_SECONDS", 0.0)
    here, other = Channel[FromPeer, ToPeer].pair()
    peer = Channel[ToPeer, FromPeer](other)
    leading = LeadingExecutor(Recording(), [here])
    assert leading.lost() is None
    peer.send(StepFailed(1))
    assert "out of step" in str(leading.lost())
    peer.close()
    here.close()
