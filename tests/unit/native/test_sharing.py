"""What is equal is computed once."""

import asyncio

import pytest

from service.native.engine import Engine
from service.protocol.request import Completion
from tests.support.running import answer, ask, picture, running, until, without_stops


@pytest.mark.slow
def test_identical_requests_share_one_answer() -> None:
    """Greedy requests that are alike are computed once and answered each, and one may still be cancelled."""

    async def crowd(engine: Engine) -> list[Completion | BaseException]:
        tasks = [
            asyncio.ensure_future(engine.submit(ask(picture(3), "?", max_tokens=300)).result())
            for _ in range(8)
        ]
        await asyncio.sleep(0)  # so that every task has begun to wait
        await until(lambda: engine.stats().decode_tokens > 5)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running(without_stops()) as engine:
        gone, *answers = asyncio.run(crowd(engine))
        stats = engine.stats()
    assert isinstance(gone, asyncio.CancelledError)
    assert len({one.text for one in answers if isinstance(one, Completion)}) == 1
    assert (stats.shared, stats.cancelled, stats.finished) == (7, 1, 7)
    assert stats.decode_tokens <= 300


def test_sampled_requests_are_never_shared() -> None:
    """Requests that chance decides are computed each for itself."""
    with running() as engine:
        answer(engine, *(ask(picture(3), "?", temperature=1.0) for _ in range(3)))
        assert engine.stats().shared == 0


def test_the_same_image_is_not_computed_twice() -> None:
    """An image asked about again comes from the cache of features, and the answer stays the same."""
    with running() as engine:
        (first,) = answer(engine, ask(picture(4), "Describe the image."))
        (again,) = answer(engine, ask(picture(4), "Describe the image.", max_tokens=15))
        stats = engine.stats()
    assert again.text == first.text
    assert (stats.feature_hits, stats.feature_misses) == (1, 1)
    assert stats.feature_bytes == 5 * 4 * 128 * 4
