"""From a request to a message that rank 0 can work on."""

import asyncio

import numpy as np
import pytest

from service.media.decode import ImageLimits, LocalDecoder
from service.media.tiles import TileSpec
from service.native.engine import Engine
from service.native.preparation import share_key
from service.protocol.request import EncodedImage
from tests.support.running import (
    CountingDecoder,
    answer,
    ask,
    by_generate,
    embedded,
    picture,
    running,
    until,
    without_stops,
)


@pytest.mark.slow
def test_a_known_image_is_not_decoded_again() -> None:
    """Asked again about the same image, the same or something else, the engine needs no pixels of it."""
    decoder = CountingDecoder(ImageLimits())
    with running(decoder=decoder) as engine:
        texts = [answer(engine, ask(picture(1), words))[0].text for words in ("?", "?", "What is it?")]
        (both,) = answer(engine, ask(picture(2), "What is it?", picture(1)))
    assert decoder.decoded == [picture(1).data, picture(2).data]
    assert texts[0] == texts[1]
    assert texts[2] == by_generate(embedded(), ask(picture(1), "What is it?"))
    assert both.text == by_generate(embedded(), ask(picture(2), "What is it?", picture(1)))
    assert both.usage.image_tiles == 10


@pytest.mark.slow
def test_a_new_image_next_to_a_known_one_is_computed_alone() -> None:
    """Of several images only those that are not known are computed, and the answer is the same."""
    with running() as engine:
        answer(engine, ask(picture(1), "?"))
        (both,) = answer(engine, ask(picture(1), picture(2), "?"))
        stats = engine.stats()
    assert (stats.feature_hits, stats.feature_misses) == (1, 2)
    with running() as engine:
        (alone,) = answer(engine, ask(picture(1), picture(2), "?"))
    assert (alone.text, alone.usage) == (both.text, both.usage)


@pytest.mark.slow
def test_the_bound_of_tiles_is_part_of_what_an_image_is() -> None:
    """The same image cut otherwise has other features."""
    with running() as engine:
        first, second = answer(
            engine, ask(picture(1), "?"), ask(EncodedImage(picture(1).data, max_tiles=1), "?")
        )
        assert engine.stats().feature_misses == 2
    assert (first.usage.image_tiles, second.usage.image_tiles) == (5, 1)


@pytest.mark.slow
def test_no_more_is_prepared_than_is_soon_wanted() -> None:
    """While all slots are taken, only as many requests as there are slots wait with their tiles."""
    cut = list[bytes]()

    class Counting(LocalDecoder):
        def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
            cut.append(data)
            return super().cut(data, spec)

    async def crowd(engine: Engine) -> int:
        handles = [engine.submit(ask(picture(n), f"{n}", max_tokens=2000)) for n in range(20)]
        await until(lambda: engine.stats().running == 2 and len(cut) == 4)
        before = engine.stats().decode_tokens
        await until(lambda: engine.stats().decode_tokens > before + 20)
        waiting = engine.stats().waiting
        for handle in handles:
            handle.cancel()
        await until(lambda: engine.stats().running == engine.stats().waiting == 0)
        return waiting

    with running(without_stops(), decoder=Counting(ImageLimits()), slots=2) as engine:
        waiting = asyncio.run(asyncio.wait_for(crowd(engine), 30))
        assert engine.stats().cancelled == 20
    assert len(cut) == 4
    assert waiting == 18


def test_requests_with_one_seed_are_alike() -> None:
    """What decides an answer makes the key: the seed too, and no key without one where chance decides."""
    seeded = {"temperature": 1.0, "seed": 3}
    assert share_key(ask("?", **seeded)) == share_key(ask("?", **seeded))
    assert share_key(ask("?", **seeded)) != share_key(ask("?", temperature=1.0, seed=4))
    assert share_key(ask("?", temperature=1.0)) is None
    assert share_key(ask(picture(1), "?")) != share_key(ask(picture(2), "?"))


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
