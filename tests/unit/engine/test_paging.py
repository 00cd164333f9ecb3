"""Sequences that lose their pages or share those of others are answered as each would be alone."""

import asyncio
from functools import partial
from typing import Any

import pytest
import torch

from service.engine.runner.fused import FusedRunner
from service.errors import EngineStopped, ErrorCode, RequestError
from service.native.engine import Engine
from tests.support.running import (
    answer,
    ask,
    by_generate,
    embedded,
    mixed_requests,
    picture,
    until,
    without_stops,
)
from tests.support.running import running as running_engine

running = partial(running_engine, page_tokens=16)


def test_preempted_sequences_are_answered_as_alone() -> None:
    """Where pages are few, sequences are preempted and computed again, images and all, to the same text."""
    loaded = without_stops()
    requests = [ask(picture(seed), "What is this?" * (seed % 3), max_tokens=90) for seed in range(8)]
    expected = [by_generate(loaded, request) for request in requests]
    token = FusedRunner(embedded()).shape.token_bytes
    with running(loaded, slots=8, cache_bytes=token * 400) as engine:
        assert [completion.text for completion in answer(engine, *requests)] == expected
        stats = engine.stats()
    assert stats.preempted > 0
    assert stats.pages_used == 0


def test_a_preempted_stream_does_not_notice() -> None:
    """The pieces of a stream whose sequence is preempted join to the text that it would have alone."""
    loaded = without_stops()
    requests = [ask(picture(seed), max_tokens=90) for seed in range(6)]
    expected = [by_generate(loaded, request) for request in requests]

    async def streams(engine: Engine) -> list[str]:
        async def one(number: int) -> str:
            return "".join([piece async for piece in engine.submit(requests[number]).stream()])

        return await asyncio.gather(*map(one, range(len(requests))))

    token = FusedRunner(embedded()).shape.token_bytes
    with running(loaded, slots=6, cache_bytes=token * 300) as engine:
        assert asyncio.run(streams(engine)) == expected
        assert engine.stats().preempted > 0


def test_shared_beginnings_give_the_same_text() -> None:
    """Prompts that begin alike, with the same image or another, are each answered as alone."""
    begin = "Look at this picture with great care and tell me all about it. " * 3
    requests = [ask(picture(seed % 2), begin + word) for seed, word in enumerate(("Color?", "Shape?") * 3)]
    expected = [by_generate(embedded(), request) for request in requests]
    with running() as engine:
        texts = [answer(engine, request)[0].text for request in requests]
        assert texts == expected
        assert engine.stats().prefix_tokens > 0


def test_small_pages_give_the_same_texts() -> None:
    """Requests of all sorts over pages far smaller than they are, each answered as alone."""
    requests = mixed_requests(16, seed=5)
    expected = [by_generate(embedded(), request) for request in requests]
    with running(slots=5, prefill_tokens=50) as engine:
        assert [completion.text for completion in answer(engine, *requests)] == expected


def test_a_nan_poisons_no_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence whose logits are no numbers fails, and what it left in the cache harms no other."""
    request = ask(picture(1), "?")
    expected = by_generate(embedded(), request)
    run = FusedRunner.run

    def poisoned(runner: FusedRunner, chunks: Any) -> torch.Tensor:
        logits = run(runner, chunks)
        for layer in (*runner.cache.keys, *runner.cache.values):
            layer[chunks[0].sequence.pages[0]] = torch.nan
        return logits * torch.nan

    with running(slots=1) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(FusedRunner, "run", poisoned)
            with pytest.raises(RequestError) as caught:
                answer(engine, ask(picture(2), "?"))
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        assert answer(engine, request)[0].text == expected


@pytest.mark.parametrize(("error", "requests"), [(torch.AcceleratorError, 1), (RuntimeError, 8)])
def test_a_device_fault_ends_the_engine(
    error: type[Exception], requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fault of the device, or steps in a row that all fail, check() raises and Serve replaces it."""

    def broken(*_: object) -> torch.Tensor:
        raise error("CUDA error: an illegal memory access was encountered")

    async def send(engine: Engine) -> None:
        for _ in range(requests):
            with pytest.raises(RequestError):
                await engine.submit(ask("?")).result()
        await until(lambda: stopped(engine))

    with running() as engine:
        monkeypatch.setattr(FusedRunner, "run", broken)
        asyncio.run(asyncio.wait_for(send(engine), 20))


def stopped(engine: Engine) -> bool:
    try:
        engine.check()
    except EngineStopped:
        return True
    return False
