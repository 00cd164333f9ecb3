"""Which requests the engine takes: its queue, and what fits."""

import asyncio

import pytest

from service.errors import ErrorCode, RequestError
from service.native.engine import Engine
from service.protocol.request import Request
from tests.support.running import (
    answer,
    ask,
    running,
    until,
    without_stops,
)


def test_a_full_queue_refuses_at_once() -> None:
    """A request beyond slots and queue is refused with the numbers."""

    async def overfill(engine: Engine) -> None:
        handles = [engine.submit(ask(f"{n}", max_tokens=3000, shorten=True)) for n in range(3)]
        with pytest.raises(RequestError) as caught:
            engine.submit(ask("4"))
        assert caught.value.code is ErrorCode.OVERLOADED
        assert "3 requests are in flight; the limit is 3" in caught.value.message
        for handle in handles:
            handle.cancel()
        await until(lambda: engine.stats().cancelled == 3)

    with running(without_stops(), slots=2, max_waiting=1) as engine:
        asyncio.run(overfill(engine))
        assert engine.stats().refused == 1


def test_the_queue_is_as_long_as_its_seconds_of_work() -> None:
    """Once the speed of the model is known, no more requests wait than it computes in those seconds."""

    async def overfill(engine: Engine) -> None:
        number = 0
        while engine.stats().work is None:
            number += 1
            await engine.submit(ask(f"{number}", max_tokens=200)).result()
        generations = [engine.submit(ask(f"{n} more", max_tokens=3000, shorten=True)) for n in range(2)]
        with pytest.raises(RequestError) as caught:
            engine.submit(ask("4"))
        assert "the limit is 2 (CAPSTAN_MAX_QUEUE_SECONDS" in caught.value.message
        assert engine.stats().queue_limit == 1
        assert caught.value.retry_after is not None
        for generation in generations:
            generation.cancel()

    with running(without_stops(), slots=1, max_waiting=100, queue_seconds=1e-9) as engine:
        asyncio.run(overfill(engine))


def test_the_queue_follows_the_model_s_speed_by_itself() -> None:
    """Admission measures the work, so the limit is right although nothing reads the engine's counters."""

    async def work(engine: Engine) -> None:
        for number in range(200):
            engine.check_admission("")
            if engine.requests.limit == 2:
                return
            await engine.submit(ask(f"{number}", max_tokens=200)).result()
        pytest.fail("the limit never followed the speed")

    with running(without_stops(), slots=1, max_waiting=100, queue_seconds=1e-9) as engine:
        asyncio.run(work(engine))


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        (ask("word " * 5000), "prompt", "the limit is 4095"),
        (ask("?", max_tokens=4096), "max_tokens", "the limit is 4096; lower max_tokens to"),
    ],
    ids=["prompt", "max_tokens"],
)
def test_what_can_never_fit_is_refused_with_the_numbers(request_: Request, field: str, words: str) -> None:
    """A request that the context cannot hold is refused, and the message says by how much."""
    with running() as engine, pytest.raises(RequestError, match=words) as caught:
        answer(engine, request_)
    assert (caught.value.code, caught.value.field) == (ErrorCode.CONTEXT_LENGTH_EXCEEDED, field)


@pytest.mark.slow
def test_a_default_limit_is_shortened_to_what_fits() -> None:
    """A default of max_tokens becomes what the context leaves."""
    with running(without_stops(), cache_bytes=2 * 2**20) as engine:
        (completion,) = answer(engine, ask("?", max_tokens=100_000, shorten=True))
        total = completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert total == engine.describe().context_length < 4096
