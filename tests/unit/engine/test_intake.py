"""From a request to a run that the engine can work on."""

import asyncio

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.features import FeatureCache
from service.engine.options import EngineOptions
from service.engine.preparation import Preparation, share_key
from service.engine.sequence import Sequence
from service.media.decode import ImageLimits, LocalDecoder
from service.media.tiles import TileSpec
from tests.unit.engine.running import DECODER, ask, by_generate, embedded, picture, running
from tests.unit.engine.test_engine import answer, until, without_stops


@pytest.mark.slow
def test_a_known_image_is_not_decoded_again() -> None:
    """Asked again about the same image, the same or something else, the engine needs no pixels of it."""
    decoded = list[bytes]()

    class Counting(LocalDecoder):
        def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
            decoded.append(data)
            return super().cut(data, spec)

    engine = Engine(embedded(), decoder=Counting(ImageLimits()), options=EngineOptions())
    engine.start()
    try:
        texts = [answer(engine, ask(picture(1), words))[0].text for words in ("?", "?", "What is it?")]
        (both,) = answer(engine, ask(picture(2), "What is it?", picture(1)))
    finally:
        engine.close(5)
    assert decoded == [picture(1).data, picture(2).data]
    assert texts[0] == texts[1]
    assert texts[2] == by_generate(embedded(), ask(picture(1), "What is it?"))
    assert both.text == by_generate(embedded(), ask(picture(2), "What is it?", picture(1)))
    assert both.usage.image_tiles == 10


@pytest.mark.slow
def test_a_new_image_beside_a_known_one_is_computed_alone() -> None:
    """Of several images only those that are not known are computed, and the answer is the same."""
    with running() as engine:
        answer(engine, ask(picture(1), "?"))
        (beside,) = answer(engine, ask(picture(1), picture(2), "?"))
        stats = engine.stats()
    assert (stats.feature_hits, stats.feature_misses) == (1, 2)
    with running() as engine:
        (alone,) = answer(engine, ask(picture(1), picture(2), "?"))
    assert (alone.text, alone.usage) == (beside.text, beside.usage)


@pytest.mark.slow
def test_the_bound_of_tiles_is_part_of_what_an_image_is() -> None:
    """The same image cut otherwise has other features."""
    with running() as engine:
        first, second = answer(engine, ask(picture(1), "?"), ask(picture(1), "?", max_tiles=1))
        assert engine.stats().feature_misses == 2
    assert (first.usage.image_tiles, second.usage.image_tiles) == (5, 1)


@pytest.mark.slow
def test_no_more_is_prepared_than_is_soon_wanted() -> None:
    """While all slots are taken, only as many requests as there are slots wait with their tiles."""

    async def crowd(engine: Engine) -> tuple[int, int]:
        tasks = [
            asyncio.ensure_future(engine.submit(ask(picture(n), f"{n}", max_tokens=2000)).result())
            for n in range(20)
        ]
        await asyncio.sleep(0)  # a task that is cancelled before it begins would cancel nothing
        await until(lambda: engine.stats().running == 2 and engine._intake._ahead == 2)
        found = engine._worker.waiting + len(engine._intake.arrived)  # type: ignore[union-attr]
        waiting = engine.stats().waiting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: engine.stats().running == engine.stats().waiting == 0)
        return found, waiting

    with running(without_stops(), slots=2) as engine:
        prepared, waiting = asyncio.run(asyncio.wait_for(crowd(engine), 30))
        assert engine.stats().cancelled == 20
    assert prepared <= 2
    assert waiting == 18


@pytest.mark.slow
def test_tiles_and_features_are_let_go_of_once_read() -> None:
    """A sequence whose images were seen keeps no tiles, and once it has ended no features either."""
    with running(without_stops()) as engine:

        async def look() -> Sequence:
            generation = engine.submit(ask(picture(1), "?", max_tokens=2000))
            await until(lambda: engine.stats().decode_tokens > 2)
            (run,) = engine._worker.running()  # type: ignore[union-attr]
            assert run.inputs is None
            generation.cancel()
            await until(lambda: engine.stats().running == 0)
            return run

        run = asyncio.run(look())
    assert run.inputs is None
    assert run.features is None
    assert run.known == []


def test_requests_with_one_seed_are_alike() -> None:
    """What decides an answer makes the key: the seed too, and no key without one where chance decides."""
    seeded = {"temperature": 1.0, "seed": 3}
    assert share_key(ask("?", **seeded)) == share_key(ask("?", **seeded))
    assert share_key(ask("?", **seeded)) != share_key(ask("?", temperature=1.0, seed=4))
    assert share_key(ask("?", temperature=1.0)) is None
    assert share_key(ask(picture(1), "?")) != share_key(ask(picture(2), "?"))


def test_an_image_is_known_only_with_its_features() -> None:
    """When the features of an image were let go of, it is decoded again."""
    preparation = Preparation(embedded(), DECODER, FeatureCache(0))
    for _ in range(2):
        run = Sequence(ask(picture(1), "?"))
        preparation.prepare(run, longest=100)
        assert run.inputs is not None
        assert run.inputs.tiles


@pytest.mark.slow
def test_a_greedy_client_does_not_hold_up_another() -> None:
    """Two requests that come after thirty of another client are answered among the first."""

    async def race(engine: Engine) -> list[str]:
        order = list[str]()

        async def one(client: str, number: int) -> None:
            await engine.submit(ask(f"{client} {number}", client=client)).result()
            order.append(client)

        async with asyncio.TaskGroup() as group:
            for client, count in (("greedy", 30), ("late", 2)):
                for number in range(count):
                    group.create_task(one(client, number))
                await asyncio.sleep(0)
        return order

    with running(slots=2, preparation_threads=1) as engine:
        order = asyncio.run(asyncio.wait_for(race(engine), 30))
    assert len(order) == 32
    # Two run and two are prepared before it is the newcomer's turn.
    assert max(index for index, client in enumerate(order) if client == "late") <= 8
