"""Recorded decode steps, with a recording that runs on the CPU."""

from collections.abc import Callable

import pytest
import torch

from service.engine.pools import Place, Pool
from service.engine.request import Request, Sampling
from service.engine.runner import graphs
from service.engine.runner.direct import DirectRunner
from service.engine.runner.graphs import round_up
from service.engine.schedule import Chunk
from service.engine.sequence import Sequence
from tests.unit.engine.running import embedded

TOKENS = 1000
SHORT, LONG = Pool(16, 64, rows=4), Pool(300, 300, rows=2)


class Replayed:
    """Runs a step again on the same tensors, into the same output, as a CUDA graph does."""

    def __init__(self, step: Callable[[], torch.Tensor]) -> None:
        self.step = step
        self.output = torch.full_like(step(), float("nan"))

    def replay(self) -> None:
        self.output.copy_(self.step())


def prompts(runner: DirectRunner, *places: Place) -> list[list[Sequence]]:
    """Runs of different lengths whose prompts have been read, pool by pool."""
    running: dict[Pool, list[Sequence]] = {}
    for number, place in enumerate(places):
        prompt = list(range(10, 15 + 3 * number))
        run = Sequence(Request((), Sampling(8)), prompt=prompt, limit=8, place=place)
        runner.prefill([Chunk(run, 0, len(prompt))])
        run.filled, run.answer = len(prompt), [20 + number]
        running.setdefault(place.pool, []).append(run)
    return list(running.values())


PLACES = {
    "one row": (Place(SHORT, 0),),
    "rows padded": (Place(SHORT, 0), Place(SHORT, 1), Place(SHORT, 2)),
    "two pools": (Place(SHORT, 0), Place(SHORT, 1), Place(SHORT, 2), Place(LONG, 0)),
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())
@torch.inference_mode()
def test_recorded_steps_give_the_logits_of_plain_ones(places: tuple[Place, ...]) -> None:
    """Step after step, recorded decoding gives what plain decoding gives, whatever rows are padded."""
    plain, recorded = DirectRunner(embedded()), DirectRunner(embedded(), record=Replayed)
    for runner in (plain, recorded):
        runner.allocate(TOKENS)
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
    runner.allocate(TOKENS)
    for places in ((Place(SHORT, 0),), (Place(SHORT, 0), Place(SHORT, 1)), (Place(SHORT, 0),)):
        runner.decode(prompts(runner, *places))
    assert runner.graphs is not None
    assert [part.rows for (part,) in runner.graphs.steps] == [1]


@torch.inference_mode()
def test_a_pool_in_the_place_of_another_uses_its_recording() -> None:
    """A pool that begins where one was, with rows of the same capacity, needs no new recording."""
    runner = DirectRunner(embedded(), record=Replayed)
    runner.allocate(TOKENS)
    for pool in (SHORT, Pool(SHORT.start, SHORT.capacity, rows=2)):
        runner.decode(prompts(runner, Place(pool, 0), Place(pool, 1)))
    assert runner.graphs is not None
    assert len(runner.graphs.steps) == 1


@pytest.mark.parametrize(
    ("number", "least", "rounded"), [(1, 1, 1), (3, 1, 4), (4, 1, 4), (5, 256, 256), (257, 256, 512)]
)
def test_sizes_are_rounded_up_to_few(number: int, least: int, rounded: int) -> None:
    """Rows and lengths become the next power of two."""
    assert round_up(number, least) == rounded
