"""What goes wrong within the engine stays with the requests that it concerns."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.request import Completion
from service.engine.runner.fused import FusedRunner
from service.errors import EngineStopped, ErrorCode, RequestError, StartupError
from tests.unit.engine.running import DECODER, ask, embedded, picture, running
from tests.unit.engine.test_engine import answer, until, without_stops


def runner_of(engine: Engine) -> FusedRunner:
    runner = engine._worker.runner  # type: ignore[union-attr]
    assert isinstance(runner, FusedRunner)
    return runner


@pytest.mark.slow
def test_one_prompt_that_cannot_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of prompts that are read together, only the one at fault ends in an error."""
    poison = "poison " * 3

    async def together(engine: Engine) -> list[Completion | BaseException]:
        requests = [ask(picture(1), "?"), ask(poison), ask(picture(2), "?")]
        tasks = [engine.submit(request).result() for request in requests]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running() as engine:
        runner = runner_of(engine)
        run, tokens = runner.run, len(answer(engine, ask(poison))[0].text)
        assert tokens > 0

        def failing(chunks: Any) -> Any:
            if any(chunk.sequence.request.turns[0].content == (poison,) for chunk in chunks):
                raise RuntimeError("poisoned")
            return run(chunks)

        monkeypatch.setattr(runner, "run", failing)
        first, bad, last = asyncio.run(together(engine))
        assert isinstance(first, Completion)
        assert isinstance(last, Completion)
        assert isinstance(bad, RequestError)
        assert bad.code is ErrorCode.INTERNAL_ERROR
        assert "poison" not in bad.message
        assert engine.stats().slots_free == 64


@pytest.mark.slow
def test_the_loops_end_is_told_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loop itself fails, waiting requests end in an error, new ones are refused, check() raises."""

    async def broken(engine: Engine) -> None:
        generation = engine.submit(ask("?", max_tokens=3000))
        await until(lambda: engine.stats().running == 1)
        monkeypatch.setattr(engine._worker, "retire", lambda: 1 / 0)
        with pytest.raises(RequestError) as caught:
            await generation.result()
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        await until(lambda: not engine._thread.is_alive())
        with pytest.raises(RequestError) as refused:
            engine.submit(ask("?"))
        assert refused.value.code is ErrorCode.NOT_READY
        monkeypatch.undo()

    with running(without_stops()) as engine:
        asyncio.run(broken(engine))
        with pytest.raises(EngineStopped):
            engine.check()


@pytest.mark.slow
def test_a_step_that_hangs_is_told_by_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """check() raises while a step lasts longer than allowed, and no more once it has ended."""
    inside, go_on = threading.Event(), threading.Event()

    with running(stall_seconds=0.01) as engine:
        runner = runner_of(engine)
        run = runner.run

        def hanging(chunks: Any) -> Any:
            inside.set()
            go_on.wait(10)
            return run(chunks)

        async def hang() -> None:
            generation = engine.submit(ask("?"))
            await asyncio.to_thread(inside.wait, 10)
            await until(lambda: time.monotonic() - engine._beat > 0.02)
            with pytest.raises(EngineStopped, match="the limit is 0"):
                engine.check()
            go_on.set()
            await generation.result()

        monkeypatch.setattr(runner, "run", hanging)
        asyncio.run(hang())


def test_a_model_that_fails_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose model cannot answer a first request refuses to start."""
    monkeypatch.setattr(FusedRunner, "run", lambda *_: 1 / 0)
    engine = Engine(embedded(), decoder=DECODER, options=EngineOptions())
    with pytest.raises(StartupError):
        engine.start()
    engine.close(1)


def test_an_engine_that_has_not_started_refuses() -> None:
    """Requests before the start are refused as such."""
    engine = Engine(embedded(), decoder=DECODER, options=EngineOptions())
    with pytest.raises(RequestError) as caught:
        engine.submit(ask("?"))
    assert caught.value.code is ErrorCode.NOT_READY
    with pytest.raises(EngineStopped):
        engine.stats()
    engine.close(1)


@pytest.mark.slow
def test_deadlines_within_a_shared_run_are_each_their_own() -> None:
    """A hasty request that shares a patient one's run is late alone."""

    async def both(engine: Engine) -> tuple[BaseException | Completion, bool]:
        patient = asyncio.ensure_future(engine.submit(ask("?", max_tokens=3000)).result())
        await until(lambda: engine.stats().running == 1)
        hasty = engine.submit(ask("?", max_tokens=3000, deadline=time.monotonic() + 0.15))
        (late,) = await asyncio.gather(hasty.result(), return_exceptions=True)
        going_on = not patient.done()
        patient.cancel()
        return late, going_on

    with running(without_stops()) as engine:
        late, going_on = asyncio.run(both(engine))
        assert engine.stats().shared == 1
    assert isinstance(late, RequestError)
    assert late.code is ErrorCode.DEADLINE_EXCEEDED
    assert going_on
