"""Two processes that share one model, over gloo on the CPU."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from service.engine.checkpoint.load import load
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.parallel.load import ParallelModel, load_parallel
from service.errors import DeviceError, EngineStopped, RequestError
from service.replica import Replica
from service.settings import Settings
from tests.support.checkpoints import make_internvl
from tests.unit.engine.running import DECODER, ask, by_generate, picture
from tests.unit.engine.test_engine import answer

pytestmark = pytest.mark.slow

START_SECONDS = 240.0
LOSS_SECONDS = 10.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_internvl(tmp_path_factory.mktemp("parallel") / "small")


@pytest.fixture(scope="module")
def whole(checkpoint: Path) -> LoadedModel:
    return load(str(checkpoint))


@pytest.fixture(scope="module")
def shared(checkpoint: Path) -> Iterator[ParallelModel]:
    loaded = load_parallel(str(checkpoint), gpus=2, given=0, start_seconds=START_SECONDS)
    yield loaded
    loaded.group.close()


@pytest.fixture(scope="module")
def engine(shared: ParallelModel) -> Iterator[Engine]:
    engine = Engine(shared, decoder=DECODER, options=EngineOptions())
    engine.start()
    yield engine
    engine.close(10)


def test_each_rank_holds_a_part_of_the_weights(shared: ParallelModel, whole: LoadedModel) -> None:
    """The language model is divided and the vision tower is not; the replica itself holds nothing."""
    vision, every = (
        sum(parameter.numel() * parameter.element_size() for parameter in parameters)
        for parameters in (whole.model.model.vision_tower.parameters(), whole.model.parameters())
    )
    for held in shared.group.held_bytes.values():
        assert vision < held < vision + 0.6 * (every - vision)
    assert all(parameter.is_meta for parameter in shared.model.parameters())


def test_two_processes_give_the_tokens_of_one(engine: Engine, whole: LoadedModel) -> None:
    """Greedy answers of requests that are sent together, with images or not, equal those of one process."""
    requests = [
        ask("a red circle", max_tokens=9),
        ask(picture(1), "What is this?", max_tokens=20),
        ask(picture(2, 224, 112), "and", picture(3), "describe", max_tokens=12),
        ask("What is in this picture?", max_tokens=16, repetition_penalty=1.3),
    ]
    found = [completion.text for completion in answer(engine, *requests)]
    *plain, penalised = requests
    expected = [by_generate(whole, request) for request in plain]
    assert found == [*expected, by_generate(whole, penalised, repetition_penalty=1.3)]
    assert engine.describe().runner == "parallel"


def test_a_seed_draws_the_same_text_again(engine: Engine) -> None:
    """Sampled tokens are drawn once, by rank 0, and a seed repeats them whatever runs beside."""
    seeded = ask("a blue square", temperature=1.2, seed=5, max_tokens=12)
    (alone,) = answer(engine, seeded)
    among = answer(engine, ask("hello"), seeded)[1]
    assert alone.text == among.text


def test_a_deadline_ends_one_request_and_not_its_batch(engine: Engine) -> None:
    """A request past its deadline is given up between tokens, and the engine goes on."""
    with pytest.raises(RequestError, match="in time"):
        answer(engine, ask("?", max_tokens=400, stop=("\0",), deadline=time.monotonic()))
    assert answer(engine, ask("?", max_tokens=2))[0].usage.completion_tokens <= 2
    engine.check()


def test_heads_are_looked_at_before_processes_are_started(checkpoint: Path) -> None:
    """A number of GPUs that does not divide the heads is refused at once."""
    with pytest.raises(DeviceError, match="4 attention heads cannot be divided among 3 GPUs; use 1 or 2 "):
        load_parallel(str(checkpoint), gpus=3, given=0)


def test_the_setting_of_a_replica_decides(checkpoint: Path) -> None:
    """A replica that is set to several GPUs loads its model onto as many."""
    with pytest.raises(DeviceError, match="cannot be divided among 3 GPUs"):
        Replica(Settings(model=str(checkpoint), gpus_per_replica=3), gpus=0, replicas=lambda: 1)


def test_ranks_that_are_killed_stop_the_engine_and_leave_nothing(
    engine: Engine, shared: ParallelModel
) -> None:
    """When a rank is killed the check raises within 10 s, and after closing no process is left."""
    pids = [process.pid for process in shared.group.processes]
    engine.check()
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(EngineStopped, match="rank 1 of 2"):
        check_until(engine, time.monotonic() + LOSS_SECONDS)
    with pytest.raises(RequestError):
        answer(engine, ask("?"))
    engine.close(10)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def check_until(engine: Engine, deadline: float) -> None:
    """Check an engine again and again, until a moment of time.monotonic()."""
    while time.monotonic() < deadline:
        engine.check()
        time.sleep(0.02)


def test_closing_twice_is_as_good_as_once(engine: Engine, shared: ParallelModel) -> None:
    """A group that is closed can be closed again, and says that it was lost before."""
    engine.close(1)
    shared.group.close()
    assert shared.group.failure is not None
    assert torch.distributed.is_initialized() is False
