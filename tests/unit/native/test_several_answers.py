"""Several answers to one prompt: each as alone, the prompt read once."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.native.engine import Engine
from service.protocol.request import Completion, Request
from tests.support.running import (
    DEADLINE_SECONDS,
    CountingDecoder,
    answer,
    ask,
    picture,
    until,
    without_stops,
)
from tests.support.running import running as running_engine

running = partial(running_engine, page_tokens=16)
SEEDED = ask(picture(1), "Describe the image.", temperature=1.5, seed=3)


def seeded(count: int) -> list[Request]:
    return [replace(SEEDED, sampling=replace(SEEDED.sampling, seed=3 + index)) for index in range(count)]


def answers(engine: Engine, requests: list[Request]) -> list[Completion]:
    """The answers to requests that are one for the engine."""

    async def all_of_them() -> list[Completion]:
        return await asyncio.gather(*(handle.result() for handle in engine.submit_all(requests)))

    return asyncio.run(asyncio.wait_for(all_of_them(), DEADLINE_SECONDS))


def test_each_answer_equals_that_of_a_request_by_itself() -> None:
    """Answers with seeds of their own are the texts of separate requests with these seeds, and differ."""
    with running() as engine:
        expected = [answer(engine, request)[0].text for request in seeded(4)]
    with running() as engine:
        found = [one.text for one in answers(engine, seeded(4))]
    assert found == expected
    assert len(set(found)) > 1


def test_the_prompt_and_its_image_are_computed_once() -> None:
    """The image is decoded once, and all but the last page of the prompt is read once and then shared."""
    decoder = CountingDecoder(ImageLimits())
    with running(decoder=decoder) as engine:
        found = answers(engine, seeded(4))
        stats = engine.stats()
    tokens = found[0].usage.prompt_tokens
    shared = (tokens - 1) // 16 * 16
    assert len(decoder.decoded) == 1
    assert (stats.feature_misses, stats.feature_hits) == (1, 3)
    assert stats.prefix_tokens == 3 * shared
    assert stats.prefill_tokens == tokens + 3 * (tokens - shared)


def test_equal_answers_are_computed_once() -> None:
    """Greedy answers to one prompt are one answer, which each request gets."""
    request = ask(picture(1), "Describe the image.")
    with running() as engine:
        (alone,) = answer(engine, request)
        before = engine.stats().decode_tokens
        found = answers(engine, [request] * 3)
        stats = engine.stats()
    assert [one.text for one in found] == [alone.text] * 3
    assert (stats.shared, stats.decode_tokens) == (2, 2 * before)


def test_all_or_none_are_admitted() -> None:
    """Where not all answers of a request find a place, none takes one, and each counts as refused."""

    async def refused(engine: Engine) -> RequestError:
        handle = engine.submit(ask("?", max_tokens=3000, shorten=True))
        with pytest.raises(RequestError) as caught:
            engine.submit_all(seeded(3))
        assert len(engine.requests) == 1
        handle.cancel()
        return caught.value

    with running(slots=1, max_waiting=2) as engine:
        assert asyncio.run(refused(engine)).code is ErrorCode.OVERLOADED
        assert engine.stats().refused == 3


def test_the_others_go_on_without_the_first() -> None:
    """Answers that wait for the first one's prompt are written although that is given up at once."""

    async def rest(engine: Engine) -> list[str]:
        first, *others = engine.submit_all(seeded(4))
        first.cancel()
        return [(await other.result()).text for other in others]

    with running() as engine:
        expected = [answer(engine, request)[0].text for request in seeded(4)[1:]]
    with running() as engine:
        assert asyncio.run(asyncio.wait_for(rest(engine), DEADLINE_SECONDS)) == expected


def test_all_are_refused_what_the_first_is() -> None:
    """Each answer to a prompt that cannot be taken gets the error."""

    async def errors(engine: Engine) -> list[Any]:
        requests = [replace(one, turns=ask("x" * 90_000).turns) for one in seeded(3)]
        handles = engine.submit_all(requests)
        return await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)

    with running() as engine:
        found = asyncio.run(asyncio.wait_for(errors(engine), DEADLINE_SECONDS))
        assert [error.code for error in found] == [ErrorCode.CONTEXT_LENGTH_EXCEEDED] * 3
        assert len(engine.requests) == engine.stats().waiting == 0


def test_none_is_left_after_a_cancellation() -> None:
    """When all answers are given up, those that wait for the first one's prompt are dropped as well."""

    async def give_up(engine: Engine) -> None:
        handles = engine.submit_all([replace(one, shorten=True) for one in seeded(4)])
        for handle in handles:
            handle.cancel()
        await until(lambda: engine.stats().waiting == engine.stats().running == 0)

    with running(without_stops()) as engine:
        asyncio.run(asyncio.wait_for(give_up(engine), DEADLINE_SECONDS))
        assert (len(engine.requests), engine.stats().cancelled) == (0, 4)
