"""How requests end before their time: streams, cancelling, deadlines, failures."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.engine.runner.fused import FusedRunner
from service.errors import EngineStopped, ErrorCode, RequestError
from service.native.engine import Engine
from service.protocol.request import Completion, EncodedImage, Usage
from tests.support.running import (
    answer,
    ask,
    picture,
    running,
    until,
    without_stops,
)


@pytest.mark.slow
def test_a_stream_gives_the_same_text_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a stream join to the whole text, and its completion follows."""
    read, run = threading.Event(), FusedRunner.run

    def run_once_read(runner: FusedRunner, chunks: Any) -> Any:
        # A reader that falls behind gets several pieces as one, so each step waits for it.
        read.wait(0.2)
        read.clear()
        return run(runner, chunks)

    async def stream(engine: Engine) -> tuple[list[str], Completion | None]:
        handle, pieces = engine.submit(ask(picture(9), "Describe the image.")), []
        async for piece in handle.stream():
            pieces.append(piece)
            read.set()
        return pieces, handle.completion

    with running() as engine:
        (whole,) = answer(engine, ask(picture(9), "Describe the image."))
        monkeypatch.setattr(FusedRunner, "run", run_once_read)
        pieces, completion = asyncio.run(stream(engine))
    assert len(pieces) > 3
    assert "".join(pieces) == whole.text
    assert completion is not None
    assert (completion.text, completion.usage) == (whole.text, whole.usage)


def test_a_cancelled_request_frees_its_slot_within_two_steps() -> None:
    """A client that goes away frees its slot in two steps at most, and the others go on."""

    async def cancel(engine: Engine) -> int:
        task = asyncio.ensure_future(
            engine.submit(ask("count " * 20, max_tokens=2000, shorten=True)).result()
        )
        await until(lambda: engine.stats().decode_tokens > 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        before = engine.stats().decode_tokens
        await until(lambda: engine.stats().running == 0)
        return engine.stats().decode_tokens - before

    loaded = without_stops()
    with running(loaded) as engine:
        # Those of a step before may be counted only then.
        assert asyncio.run(cancel(engine)) <= 3
        assert engine.stats().cancelled == 1
        assert engine.stats().slots_free == 64


def test_what_was_spent_on_a_stream_that_breaks_off_is_known() -> None:
    """A stream whose reader leaves has the tokens of its prompt and those written by then."""

    async def leave(engine: Engine) -> Usage | None:
        handle = engine.submit(ask("count " * 20, max_tokens=2000, shorten=True))
        stream = handle.stream()
        pieces = [await anext(stream) for _ in range(3)]
        await stream.aclose()  # type: ignore[attr-defined]
        assert all(pieces)
        return handle.broken_off

    with running(without_stops()) as engine:
        spent = asyncio.run(leave(engine))
        assert spent is not None
        assert spent.prompt_tokens > 20
        assert 3 <= spent.completion_tokens <= engine.stats().decode_tokens + 1


def test_a_request_past_its_deadline_is_given_up() -> None:
    """A request that is not done by its deadline ends with that code, and frees its slot."""
    with running(without_stops()) as engine:
        with pytest.raises(RequestError) as caught:
            answer(engine, ask("?", max_tokens=3000, deadline=time.monotonic() + 0.2))
        assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
        asyncio.run(until(lambda: (engine.stats().running, engine.stats().failed) == (0, 1)))


@pytest.mark.slow
def test_a_bad_image_fails_alone() -> None:
    """A request whose image cannot be decoded is refused while others are answered."""

    async def mixed(engine: Engine) -> list[Completion | BaseException]:
        requests = [ask(picture(1), "?"), ask(EncodedImage(b"no image"), "?"), ask(picture(2), "?")]
        tasks = [engine.submit(request).result() for request in requests]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running() as engine:
        good, bad, other = asyncio.run(mixed(engine))
    assert isinstance(good, Completion)
    assert isinstance(other, Completion)
    assert isinstance(bad, RequestError)
    assert bad.code is ErrorCode.UNSUPPORTED_IMAGE


@pytest.mark.slow
def test_a_failing_step_ends_its_requests_and_not_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step throws becomes an error of those that took part; the next request is answered."""
    with running() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(FusedRunner, "run", lambda *_: 1 / 0)
            with pytest.raises(RequestError) as caught:
                answer(engine, ask(picture(1), "?"))
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        assert answer(engine, ask(picture(1), "?"))[0].text
        engine.check()


def test_an_engine_that_has_ended_says_so() -> None:
    """check() raises once the engine is closed, and requests in progress end with an error."""

    async def close_meanwhile(engine: Engine) -> None:
        handle = engine.submit(ask("?", max_tokens=3000))
        await until(lambda: engine.stats().running == 1)
        await asyncio.to_thread(engine.close, 5)
        await handle.result()

    with running(without_stops()) as engine:
        engine.check()
        with pytest.raises(RequestError) as caught:
            asyncio.run(close_meanwhile(engine))
        assert caught.value.code is ErrorCode.NOT_READY
        with pytest.raises(EngineStopped):
            engine.check()
