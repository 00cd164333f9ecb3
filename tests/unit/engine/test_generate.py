"""The fallback runner: batches of transformers' own `generate`."""

import asyncio
import time
from functools import partial

import pytest
import torch

from service.engine.generate import GenerateBatcher
from service.engine.sequence import Sequence
from service.errors import ErrorCode, RequestError
from service.native.engine import Engine
from service.protocol.request import FinishReason, Sampling
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
from tests.unit.engine.test_paging import stopped

running = partial(running_engine, runner="generate")


@pytest.mark.slow
def test_batches_of_generate_give_what_generate_gives_alone() -> None:
    """Requests of all sorts, padded into batches, are answered as each would be alone."""
    requests = mixed_requests(12, seed=8)
    with running() as engine:
        assert engine.describe().runner == "generate"
        texts = [completion.text for completion in answer(engine, *requests)]
    assert texts == [by_generate(embedded(), request) for request in requests]


def test_each_row_has_its_own_sampling_and_limits() -> None:
    """Seeds, stop strings and limits are those of the request, not of the batch."""
    whole = ask(picture(8), "?")
    mixed = [
        whole,
        ask(picture(8), "?", stop=(" of", " above")),
        ask(picture(8), "?", max_tokens=2),
        ask(picture(8), "?", temperature=2.0, seed=4),
    ]
    with running() as engine:
        (drawn,) = answer(engine, mixed[3])
        texts = answer(engine, *mixed)
    assert texts[3].text == drawn.text
    assert texts[1].text == texts[0].text.split(" of")[0].split(" above")[0]
    assert (texts[2].finish_reason, texts[2].usage.completion_tokens) == (FinishReason.LENGTH, 2)


def test_a_device_fault_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fault of the device, check() raises and Serve replaces the replica."""

    def broken(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    async def send(engine: Engine) -> None:
        with pytest.raises(RequestError):
            await engine.submit(ask("?")).result()
        await until(lambda: stopped(engine))

    with running() as engine:
        monkeypatch.setattr(type(embedded().model), "generate", broken)
        asyncio.run(asyncio.wait_for(send(engine), 20))


def test_pieces_come_while_the_batch_runs() -> None:
    """A stream gives its text as it is written, not at the end of its batch."""

    async def first_piece(engine: Engine) -> bool:
        stream = engine.submit(ask(picture(1), "?", max_tokens=500)).stream()
        await anext(stream)
        written = engine.stats().running == 1
        await stream.aclose()  # type: ignore[attr-defined]
        return written

    with running(without_stops()) as engine:
        assert asyncio.run(first_piece(engine))


def test_a_short_answer_does_not_wait_for_a_long_one() -> None:
    """A sequence that ends before its batch is retired at once."""
    batcher = GenerateBatcher(without_stops())
    sequences = [Sequence(Sampling(limit), prompt=[5, 6], limit=limit) for limit in (3, 9)]
    for sequence in sequences:
        batcher.add(sequence)
    ends = list[tuple[Sequence, int]]()
    batcher.step(lambda: ends.extend((one, len(sequences[1].answer)) for one in batcher.retire()))
    assert ends == [(sequences[0], 3), (sequences[1], 9)]


def test_a_cancelled_request_ends_its_row() -> None:
    """A request whose client leaves is dropped at the next token, and its batch ends early."""

    async def cancel(engine: Engine) -> None:
        stream = engine.submit(ask("?", max_tokens=3000)).stream()
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        await until(lambda: engine.stats().running == 0)
        await engine.submit(ask("?", max_tokens=2)).result()

    with running(without_stops()) as engine:
        asyncio.run(asyncio.wait_for(cancel(engine), 20))
        assert engine.stats().cancelled == 1
        assert engine.stats().decode_tokens < 1000


def test_a_deadline_is_met_within_a_batch() -> None:
    """A request that is late ends while its batch still runs."""
    with running(without_stops()) as engine:
        start = time.monotonic()
        with pytest.raises(RequestError) as caught:
            answer(engine, ask("?", max_tokens=4000, deadline=start + 0.2))
        assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
        engine.check()


def test_a_failing_batch_ends_its_requests_and_not_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `generate` throws becomes an error of the batch's requests; the next batch is answered."""
    with running() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(embedded().model, "generate", lambda **_: 1 / 0)
            with pytest.raises(RequestError) as caught:
                answer(engine, ask(picture(1), "?"))
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        assert answer(engine, ask(picture(1), "?"))[0].text
