"""Many requests of all sorts, and what is left of them."""

import asyncio
import random

import pytest

from service.engine.engine import Engine
from service.engine.request import EncodedImage, Request
from service.errors import RequestError
from tests.unit.engine.running import ask, running
from tests.unit.engine.test_engine import mixed_requests, until

pytestmark = pytest.mark.slow

SOAK_REQUESTS = 5000
SOAK_SECONDS = 15


def test_everything_is_accounted_for_after_a_soak() -> None:
    """After many requests, streamed, cancelled, refused and repeated, every slot and every future is free."""
    chance = random.Random(5)
    requests = mixed_requests(60, seed=6)

    async def one(engine: Engine, request: Request) -> None:
        await asyncio.sleep(chance.random() * SOAK_SECONDS)
        kind = chance.random()
        try:
            generation = engine.submit(request if kind > 0.1 else ask(EncodedImage(b"x"), "?"))
            if kind < 0.3:
                async for _ in generation.stream():
                    if chance.random() < 0.1:
                        break
            elif kind < 0.5:
                await asyncio.wait_for(generation.result(), chance.random() * 0.05)
            else:
                await generation.result()
        except (RequestError, TimeoutError):
            pass

    async def soak(engine: Engine) -> None:
        await asyncio.gather(*(one(engine, chance.choice(requests)) for _ in range(SOAK_REQUESTS)))
        await until(lambda: engine.stats().waiting == engine.stats().running == 0)

    with running(slots=6, max_waiting=20) as engine:
        asyncio.run(asyncio.wait_for(soak(engine), 120))
        stats = engine.stats()
        worker = engine._worker
        assert worker is not None
        assert stats.finished + stats.cancelled + stats.failed + stats.refused == SOAK_REQUESTS
        assert (stats.slots_free, stats.pages_used) == (6, 0)
        assert stats.feature_bytes <= engine.features.capacity_bytes
        assert len(engine.requests) == 0
        assert engine.requests._shared == {}
