"""Many requests of all sorts, and what is left of them."""

import asyncio
import random

import pytest

from service.errors import RequestError
from service.native.engine import Engine
from service.protocol.request import EncodedImage, Request
from tests.support.running import ask, embedded, mixed_requests, running, until

pytestmark = pytest.mark.slow

SOAK_REQUESTS = 5000
SOAK_SECONDS = 15


def largest_image_bytes() -> int:
    """Bytes of the features of an image of the most tiles."""
    loaded = embedded()
    tiling = loaded.inputs.tiling
    assert tiling is not None
    channels = loaded.model.config.get_text_config().hidden_size
    return int(tiling.spec.most_tiles * tiling.tokens_per_tile * channels * loaded.dtype.itemsize)


def test_everything_is_accounted_for_after_a_soak() -> None:
    """After many requests, streamed, cancelled, refused and repeated, every slot and every future is free."""
    chance = random.Random(5)
    requests = mixed_requests(60, seed=6)

    async def one(engine: Engine, request: Request) -> None:
        await asyncio.sleep(chance.random() * SOAK_SECONDS)
        kind = chance.random()
        try:
            handle = engine.submit(request if kind > 0.1 else ask(EncodedImage(b"x"), "?"))
            if kind < 0.3:
                async for _ in handle.stream():
                    if chance.random() < 0.1:
                        break
            elif kind < 0.5:
                await asyncio.wait_for(handle.result(), chance.random() * 0.05)
            else:
                await handle.result()
        except (RequestError, TimeoutError):
            pass

    async def soak(engine: Engine) -> None:
        await asyncio.gather(*(one(engine, chance.choice(requests)) for _ in range(SOAK_REQUESTS)))
        await until(
            lambda: engine.stats().waiting == engine.stats().running == engine.stats().pages_used == 0
        )

    with running(slots=6, max_waiting=20, feature_cache_images=2) as engine:
        asyncio.run(asyncio.wait_for(soak(engine), 120))
        stats = engine.stats()
        assert stats.finished + stats.cancelled + stats.failed + stats.refused == SOAK_REQUESTS
        assert (stats.slots_free, stats.pages_used) == (6, 0)
        assert 0 < stats.feature_bytes <= 2 * largest_image_bytes()
        assert len(engine.requests) == 0
