"""Recorded decode steps, with a recording that runs on the CPU."""

import logging
from collections.abc import Callable

import pytest
import torch

from service.engine.attention import varlen
from service.engine.runner.fused import FusedRunner
from service.engine.runner.graphs import Record, sizes
from service.engine.scheduler import Chunk
from service.engine.sequence import Sequence
from service.errors import DeviceError
from service.protocol.request import Sampling
from tests.support.running import embedded
from tests.unit.engine.test_attention import slow_varlen

PAGE_TOKENS = 8


class Replayed:
    """Runs a step again on the same tensors, into the same output, as a CUDA graph does."""

    def __init__(self, step: Callable[[], torch.Tensor]) -> None:
        self.step = step
        self.output = torch.full_like(step(), float("nan"))

    def replay(self) -> None:
        self.output.copy_(self.step())


def runner_of(record: Record | None) -> FusedRunner:
    """A runner as on a GPU: attention by varlen, which a slow reference stands for."""
    runner = FusedRunner(embedded())
    runner.flash, runner.record = True, record
    runner.allocate(40, PAGE_TOKENS)
    runner.context_length = 64
    runner.capture(12)
    return runner


def read(runner: FusedRunner, count: int) -> list[Sequence]:
    """Sequences of different lengths whose prompts have been read."""
    found = list[Sequence]()
    for number in range(count):
        prompt = list(range(10, 14 + 3 * number))
        pages = list(range(4 * number, 4 * number + 4))
        sequence = Sequence(Sampling(8), prompt=prompt, limit=8, pages=pages)
        runner.run([Chunk(sequence, 0, len(prompt))])
        sequence.answer = [20 + number]
        found.append(sequence)
    return found


@pytest.mark.parametrize("count", [1, 3, 6])
@torch.inference_mode()
def test_recorded_steps_give_the_logits_of_plain_ones(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step after step, recorded decoding gives what plain decoding gives, whatever is padded."""
    monkeypatch.setattr(varlen, "varlen_attn_out", slow_varlen)
    sides = [(runner, read(runner, count)) for runner in (runner_of(None), runner_of(Replayed))]
    for step in range(4):
        expected, found = (
            runner.run([Chunk(each, each.length - 1, each.length) for each in sequences])
            for runner, sequences in sides
        )
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        for _, sequences in sides:
            for each in sequences:
                each.answer.append(30 + step)
    graphs = sides[1][0].graphs
    assert graphs is not None
    assert sorted(graphs.steps) == [1, 2, 4, 8, 16], "nothing is recorded while serving"


def test_a_failed_recording_leaves_plain_steps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a step cannot be recorded the engine says so once and decodes without."""
    monkeypatch.setattr(varlen, "varlen_attn_out", slow_varlen)

    def refused(_: Callable[[], torch.Tensor]) -> Replayed:
        raise DeviceError("no graphs here")

    with caplog.at_level(logging.WARNING, "capstan.engine"):
        runner = runner_of(refused)
    assert runner.graphs is None
    assert [record.getMessage() for record in caplog.records] == [
        "decode steps run without CUDA graphs: no graphs here"
    ]


def test_few_sizes_are_recorded() -> None:
    """1, 2, 4, then multiples of 8 until all that may run are covered."""
    assert sizes(20) == [1, 2, 4, 8, 16, 24]
