"""How a long request affects short ones: 16 in flight, alone and with 1,024 tokens after a long prompt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import count as numbers

import aiohttp

from bench.closed_loop import Ask, closed_loop
from bench.engine import running, whole
from bench.figures import Answer, Figures
from bench.http import TIMEOUT, asker
from bench.workload import MAX_TOKENS, PROMPT, Sample, samples
from service.checkpoint.load import load
from service.native.engine import Engine
from service.protocol.request import EncodedImage, Request, Sampling, Turn
from service.settings import EMBEDDED_MODEL

SHORT = 16
LONG_TOKENS = 1024
LONG_PROMPT = "Describe the image. " * 200

# Asks for the long answer of this number, and gives its tokens.
Long = Callable[[int], Awaitable[int]]


async def in_turn(ask: Ask, long: Long, *, count: int, seed: int) -> list[Figures]:
    """Short requests with new images, with a long request always in flight or with none, twice each."""
    found = []
    for number, alone in enumerate((True, False) * 2):
        work = samples(count, seed + number)
        if alone:
            found.append(await closed_loop("16 short, alone", ask, work, clients=SHORT))
            continue
        async with _in_flight(long) as tokens:
            figures = await closed_loop("", ask, work, clients=SHORT)
        mean = f"{sum(tokens) / len(tokens):.0f} tokens each" if tokens else "none ended"
        found.append(replace(figures, load=f"16 short, with a long one ({len(tokens)} times, {mean})"))
    return found


@contextlib.asynccontextmanager
async def _in_flight(long: Long) -> AsyncIterator[list[int]]:
    """Asks for one long answer after the other; the tokens of those that have ended."""
    tokens = list[int]()

    async def keep_asking() -> None:
        for number in numbers():
            tokens.append(await long(number))

    task = asyncio.create_task(keep_asking())
    try:
        yield tokens
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def measure(seed: int, *, count: int = 640) -> list[Figures]:
    """The engine alone, without stop tokens, so that every answer has the length that it asks for."""
    loaded = replace(load(str(EMBEDDED_MODEL)), stop_ids=frozenset())
    with running(loaded) as engine:
        return asyncio.run(in_turn(*_of_engine(engine), count=count, seed=seed))


def _of_engine(engine: Engine) -> tuple[Ask, Long]:
    async def ask(sample: Sample) -> Answer:
        turn = Turn("user", (EncodedImage(sample.file), PROMPT))
        return await whole(engine, Request((turn,), Sampling(MAX_TOKENS)))

    async def long(number: int) -> int:
        turn = Turn("user", (f"{number} {LONG_PROMPT}",))
        completion = await engine.submit(Request((turn,), Sampling(LONG_TOKENS))).result()
        return completion.usage.completion_tokens

    return ask, long


async def measure_http(url: str, *, model: str, seed: int, count: int = 640) -> list[Figures]:
    """A server that runs. Hot, and penalized for the end that its prompt holds too, the model writes on."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session:

        async def long(number: int) -> int:
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"{number} {LONG_PROMPT}"}],
                "max_tokens": LONG_TOKENS,
                "temperature": 2,
                "repetition_penalty": 10,
                "seed": seed + number,
            }
            async with session.post(url, json=body) as response:
                response.raise_for_status()
                tokens: int = (await response.json())["usage"]["completion_tokens"]
                return tokens

        return await in_turn(asker(session, url, model), long, count=count, seed=seed)
