"""What short requests feel of a long one: 16 in flight, alone and beside 1,024 tokens after a long prompt."""

import asyncio
from dataclasses import replace

import torch

from bench.closed_loop import closed_loop
from bench.engine import DECODER, whole
from bench.figures import Answer, Figures
from bench.workload import MAX_TOKENS, PROMPT, Sample, samples
from service.engine.checkpoint.load import load
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.request import EncodedImage, Request, Sampling, Turn
from service.settings import EMBEDDED_MODEL

SHORT = 16
LONG_TOKENS = 1024
LONG_PROMPT = "Describe the image. " * 200


async def short_ones(engine: Engine, label: str, *, count: int, seed: int, long: bool) -> Figures:
    """Short requests with new images, with a long request always in flight or with none."""

    async def ask(sample: Sample) -> Answer:
        turn = Turn("user", (EncodedImage(sample.file), PROMPT))
        return await whole(engine, Request((turn,), Sampling(MAX_TOKENS)))

    async def keep_long_in_flight() -> None:
        for number in range(1_000_000):
            turn = Turn("user", (f"{number} {LONG_PROMPT}",))
            await engine.submit(Request((turn,), Sampling(LONG_TOKENS))).result()

    beside = asyncio.create_task(keep_long_in_flight()) if long else None
    try:
        return await closed_loop(label, ask, samples(count, seed), clients=SHORT)
    finally:
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)


def measure(seed: int, *, count: int = 640) -> list[Figures]:
    """Alone and beside in turn. Without stop tokens, so that every answer has the length that it asks for."""
    torch.set_num_threads(1)
    loaded = replace(load(str(EMBEDDED_MODEL)), stop_ids=frozenset())
    engine = Engine(loaded, decoder=DECODER, options=EngineOptions())
    engine.start()
    try:
        return [
            asyncio.run(
                short_ones(
                    engine, f"16 short, {label}", count=count, seed=seed + number, long=number % 2 == 1
                )
            )
            for number, label in enumerate(("alone", "beside a long one") * 2)
        ]
    finally:
        engine.close(10)
