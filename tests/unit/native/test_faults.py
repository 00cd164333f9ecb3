"""What goes wrong within the engine stays with the requests that it concerns."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.engine.batching import ContinuousBatcher
from service.engine.runner.fused import FusedRunner
from service.errors import EngineStopped, ErrorCode, RequestError, StartupError
from service.native.engine import STALL_SECONDS, Engine
from service.protocol.request import Completion
from tests.support.running import answer, ask, engine_of, picture, running, until, without_stops


@pytest.mark.slow
def test_one_prompt_that_cannot_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of prompts that are read together, only the one at fault ends in an error."""
    poison = "poison " * 3

    async def together(engine: Engine) -> list[Completion | BaseException]:
        requests = [ask(picture(1), "?"), ask(poison), ask(picture(2), "?")]
        tasks = [engine.submit(request).result() for request in requests]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running() as engine:
        run, length = FusedRunner.run, answer(engine, ask(poison))[0].usage.prompt_tokens

        def failing(runner: FusedRunner, chunks: Any) -> Any:
            if any(len(chunk.sequence.prompt) == length for chunk in chunks):
                raise RuntimeError("poisoned")
            return run(runner, chunks)

        monkeypatch.setattr(FusedRunner, "run", failing)
        first, bad, last = asyncio.run(together(engine))
        assert isinstance(first, Completion)
        assert isinstance(last, Completion)
        assert isinstance(bad, RequestError)
        assert bad.code is ErrorCode.INTERNAL_ERROR
        assert "poison" not in bad.message
        assert engine.stats().slots_free == 64


@pytest.mark.slow
def test_the_loops_end_ends_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loop itself fails, waiting requests end in an error, new ones are refused, check() raises."""

    async def broken(engine: Engine) -> None:
        handle = engine.submit(ask("?", max_tokens=3000))
        await until(lambda: engine.stats().running == 1)
        monkeypatch.setattr(ContinuousBatcher, "retire", lambda _: 1 / 0)
        with pytest.raises(RequestError, match="the engine failed while it worked") as caught:
            await handle.result()
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        with pytest.raises(RequestError) as refused:
            engine.submit(ask("?"))
        assert refused.value.code is ErrorCode.NOT_READY

    with running(without_stops()) as engine:
        asyncio.run(broken(engine))
        with pytest.raises(EngineStopped, match="the engine's loop has failed"):
            engine.check()


@pytest.mark.slow
def test_a_step_that_hangs_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a step lasts longer than allowed, its requests end in an error and check() raises."""
    go_on = threading.Event()
    monkeypatch.setitem(STALL_SECONDS, "cpu", 0.1)
    with running() as engine:
        monkeypatch.setattr(FusedRunner, "run", lambda *_: go_on.wait(20))

        async def hang() -> None:
            with pytest.raises(RequestError, match="the engine failed while it worked"):
                await asyncio.wait_for(engine.submit(ask("?")).result(), 10)

        asyncio.run(hang())
        with pytest.raises(EngineStopped, match="the limit is 0"):
            engine.check()
        go_on.set()


def test_a_model_that_fails_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose model cannot answer a first request refuses to start."""
    monkeypatch.setattr(FusedRunner, "run", lambda *_: 1 / 0)
    engine = engine_of()
    with pytest.raises(StartupError):
        engine.start()
    engine.close(1)


def test_an_engine_that_has_not_started_refuses() -> None:
    """Requests before the start are refused as such."""
    engine = engine_of()
    with pytest.raises(RequestError) as caught:
        engine.submit(ask("?"))
    assert caught.value.code is ErrorCode.NOT_READY
    with pytest.raises(EngineStopped):
        engine.stats()
    engine.close(1)


@pytest.mark.slow
def test_deadlines_of_a_shared_answer_are_each_their_own() -> None:
    """A hasty request that shares a patient one's answer is late alone."""

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
