"""Processes of a model: started, watched and ended."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.engine.ranks.messages import Setup
from service.engine_options import EngineOptions
from service.errors import CheckpointError, EngineStopped, RequestError
from service.native.engine import Engine
from service.native.rank_group import RankGroup
from service.native.rank_process import visible_device
from service.settings import EMBEDDED_MODEL
from tests.support.running import DECODER, answer, ask, by_generate, embedded, mixed_requests, picture

LOSS_SECONDS = 10.0

SETUP = Setup(
    rank=0,
    size=1,
    port=0,
    directory=str(EMBEDDED_MODEL),
    dtype="auto",
    device="cpu",
    gpus=0,
    max_tiles=None,
    threads=1,
    log_level=20,
    options=EngineOptions(),
)


@contextlib.contextmanager
def processes(setup: Setup = SETUP) -> Iterator[tuple[Engine, RankGroup]]:
    """An engine whose ranks are processes."""
    ranks = RankGroup(setup)
    engine = Engine(ranks, decoder=DECODER, options=setup.options)
    try:
        engine.start()
        yield engine, ranks
    finally:
        engine.close(10)


def check_until_it_raises(engine: Engine, seconds: float) -> str:
    """What `check` raises within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            engine.check()
        except EngineStopped as error:
            return str(error)
    raise AssertionError(f"check() did not raise in {seconds:.0f} s")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def one_in_progress(engine: Engine, number: signal.Signals, pid: int) -> str:
    """Send a signal while a request is being answered; how that ends."""
    handle = engine.submit(ask("?", max_tokens=3000, stop=("\0",), ignore_eos=True, temperature=2.0, seed=1))
    stream = handle.stream()
    await anext(stream)
    os.kill(pid, number)
    with pytest.raises(RequestError) as caught:
        async for _ in stream:
            pass
    return caught.value.message


@pytest.mark.slow
def test_a_process_gives_the_tokens_of_a_thread() -> None:
    """Requests of all sorts are answered by a process as by `generate`, and it leaves nothing behind."""
    requests = [*mixed_requests(12, seed=9), ask(picture(8), "?", stop=(" of", " above"))]
    expected = [by_generate(embedded(), request) for request in requests]
    with processes() as (engine, ranks):
        found = [completion.text for completion in answer(engine, *requests)]
        again = [completion.text for completion in answer(engine, *requests[:4])]
        stats, (process,) = engine.stats(), ranks.processes
    assert found[:-1] == expected[:-1]
    assert found[-1] == expected[-1].split(" of")[0].split(" above")[0]
    assert again == expected[:4]
    assert (stats.finished, stats.pages_used) == (17, 0)
    assert gone(process.pid)


@pytest.mark.slow
def test_a_killed_process_ends_its_requests_at_once() -> None:
    """When a process is killed, requests in progress get an error and `check` raises at once."""
    with processes() as (engine, ranks):
        (process,) = ranks.processes
        message = asyncio.run(asyncio.wait_for(one_in_progress(engine, signal.SIGKILL, process.pid), 5))
        assert message == "the engine failed while it worked on this request; its log says why"
        assert check_until_it_raises(engine, 1) == "the engine's process was ended by signal 9"
        with pytest.raises(RequestError, match="try again"):
            asyncio.run(asyncio.wait_for(_submit(engine), 5))


async def _submit(engine: Engine) -> None:
    await engine.submit(ask("?")).result()


@pytest.mark.slow
def test_a_stopped_process_is_noticed_within_ten_seconds() -> None:
    """When a process hangs, its requests end and `check` raises in 10 s, and closing kills it."""
    with processes() as (engine, ranks):
        (process,) = ranks.processes
        start = time.monotonic()
        asyncio.run(asyncio.wait_for(one_in_progress(engine, signal.SIGSTOP, process.pid), LOSS_SECONDS))
        assert "was silent for" in check_until_it_raises(engine, LOSS_SECONDS)
        assert time.monotonic() - start < LOSS_SECONDS
    assert gone(process.pid)


@pytest.mark.slow
def test_a_refusal_comes_back_as_it_was(tmp_path: Path) -> None:
    """What makes a process refuse to start is raised with its type and its sentence."""
    ranks = RankGroup(replace(SETUP, directory=str(tmp_path)))
    with pytest.raises(CheckpointError, match=r"checkpoint has no config\.json"):
        ranks.wait_until_ready()
    ranks.close()
    assert gone(ranks.processes[0].pid)


@pytest.mark.parametrize(
    ("assigned", "rank", "expected"),
    [
        ("3", 0, "3"),
        ("2,5,7", 1, "5"),
        ("GPU-8932f937,GPU-46309f0a", 1, "GPU-46309f0a"),
        ("MIG-GPU-8932f937/1/2, MIG-46309f0a", 1, "MIG-46309f0a"),
        ("", 3, "3"),
    ],
)
def test_a_rank_sees_the_gpu_that_ray_assigned(assigned: str, rank: int, expected: str) -> None:
    """Indices, UUIDs and MIG devices are passed on as Ray named them, one to each rank."""
    assert visible_device(rank, {"CUDA_VISIBLE_DEVICES": assigned}, cpu=False) == expected


def test_a_rank_on_the_cpu_sees_no_gpu() -> None:
    """Transformers shards over whatever GPU it sees, so a rank on the CPU sees none."""
    assert visible_device(1, {"CUDA_VISIBLE_DEVICES": "0,1"}, cpu=True) == ""
