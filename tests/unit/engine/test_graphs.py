"""Recorded decode steps, with a recording that runs on the CPU."""

from collections.abc import Callable

import pytest
import torch

from service.engine.pools import Place, PoolPlan
from service.engine.request import Request, Sampling
from service.engine.run import Run
from service.engine.runner import graphs
from service.engine.runner.direct import DirectRunner
from service.engine.runner.graphs import round_up
from service.engine.schedule import Chunk
from tests.unit.engine.running import embedded

PLANS = (PoolPlan(4, 64), PoolPlan(2, 300))


class Replayed:
    """Runs a step again on the same tensors, into the same output, as a CUDA graph does."""

    def __init__(self, step: Callable[[], torch.Tensor]) -> None:
        self.step = step
        self.output = torch.full_like(step(), float("nan"))

    def replay(self) -> None:
        self.output.copy_(self.step())


def prompts(runner: DirectRunner, *places: Place) -> list[list[Run]]:
    """Runs of different lengths whose prompts have been read, pool by pool."""
    running: list[list[Run]] = [[] for _ in PLANS]
    for number, place in enumerate(places):
        prompt = list(range(10, 15 + 3 * number))
        run = Run(Request((), Sampling(8)), prompt=prompt, limit=8, place=place)
        runner.prefill([Chunk(run, 0, len(prompt))])
        run.filled, run.answer = len(prompt), [20 + number]
        running[place.pool].append(run)
    return running


PLACES = {
    "one row": (Place(0, 0),),
    "rows padded": (Place(0, 0), Place(0, 1), Place(0, 2)),
    "two pools": (Place(0, 0), Place(0, 1), Place(0, 2), Place(1, 0)),
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())
@torch.inference_mode()
def test_recorded_steps_give_the_logits_of_plain_ones(places: tuple[Place, ...]) -> None:
    """Step after step, recorded decoding gives what plain decoding gives, whatever rows are padded."""
    plain, recorded = DirectRunner(embedded()), DirectRunner(embedded(), record=Replayed)
    for runner in (plain, recorded):
        runner.allocate(PLANS)
    sides = [(runner, prompts(runner, *places)) for runner in (plain, recorded)]
    for step in range(5):
        expected, found = (runner.decode(running) for runner, running in sides)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        for _, running in sides:
            for run in (run for pool in running for run in pool):
                run.filled += 1
                run.answer.append(30 + step)
    assert recorded.graphs is not None
    assert len(recorded.graphs.steps) == 1


@torch.inference_mode()
def test_old_recordings_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more recordings are kept than the bound."""
    monkeypatch.setattr(graphs, "GRAPHS_KEPT", 1)
    runner = DirectRunner(embedded(), record=Replayed)
    runner.allocate(PLANS)
    for places in ((Place(0, 0),), (Place(0, 0), Place(0, 1)), (Place(0, 0),)):
        runner.decode(prompts(runner, *places))
    assert runner.graphs is not None
    assert [part.rows for (part,) in runner.graphs.steps] == [1]


@pytest.mark.parametrize(
    ("number", "least", "rounded"), [(1, 1, 1), (3, 1, 4), (4, 1, 4), (5, 256, 256), (257, 256, 512)]
)
def test_sizes_are_rounded_up_to_few(number: int, least: int, rounded: int) -> None:
    """Rows and lengths become the next power of two."""
    assert round_up(number, least) == rounded
