"""The engine alone, without HTTP, compared with static batches through transformers' `generate`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch

from bench.closed_loop import closed_loop
from bench.figures import Answer, Figures, figures
from bench.thread_rank import ThreadRank
from bench.workload import MAX_TOKENS, PROMPT, Sample, samples
from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.engine.runner.pixels import normaliser_of, pixels
from service.engine_options import EngineOptions
from service.media.decode import ImageLimits, LocalDecoder
from service.media.sandbox.pool import DecodePool
from service.media.sandbox.worker import Bounds
from service.native.engine import Engine
from service.native.start import native_engine
from service.prompt.inputs import DecodedTurn
from service.protocol.request import EncodedImage, Request, Sampling, Turn
from service.settings import EMBEDDED_MODEL, Settings

DECODE_SECONDS = 10.0
DECODER = LocalDecoder(ImageLimits())


@contextmanager
def running(loaded: LoadedModel | None = None) -> Iterator[Engine]:
    """An engine as a replica on two cores has it: one torch thread, images decoded by two processes.

    The embedded model has a process of its own, one that is `loaded` already a thread.
    """
    torch.set_num_threads(1)
    pool = DecodePool(Bounds(ImageLimits(), DECODE_SECONDS), processes=2)
    if loaded is None:
        engine = native_engine(Settings.model_validate({"torch_threads": 1}), 0, pool)
    else:
        options = EngineOptions()
        engine = Engine(ThreadRank(loaded, options), decoder=pool, options=options)
    try:
        engine.start()
        pool.wait_until_ready()
        yield engine
    finally:
        engine.close(10)
        pool.close()


def static_batches(loaded: LoadedModel, *, size: int, count: int, seed: int) -> Figures:
    """Batches of `size` from images to text, each to its end, with nothing else to do."""
    work, right, answers = samples(count, seed), 0, list[Answer]()
    begin = perf_counter()
    for first in range(0, count, size):
        batch, start = work[first : first + size], perf_counter()
        texts = _generate(loaded, batch)
        seconds = perf_counter() - start
        answers += [Answer(text, len(loaded.tokenizer.encode(text)), seconds) for text in texts]
        right += sum(text.strip() == sample.caption for text, sample in zip(texts, batch, strict=True))
    return figures(f"generate, batches of {size}", answers, perf_counter() - begin, right=right, errors=0)


@torch.inference_mode()
def _generate(loaded: LoadedModel, batch: list[Sample]) -> list[str]:
    built = [
        loaded.inputs.build([DecodedTurn("user", (DECODER.decode(sample.file), PROMPT))]) for sample in batch
    ]
    ids = torch.tensor([inputs.input_ids for inputs in built])  # [B, S]; all prompts are of one length
    images = [tiles for inputs in built for tiles in inputs.tiles]
    out = loaded.model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels(images, normaliser_of(loaded), loaded.device),
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        eos_token_id=sorted(loaded.stop_ids),
        pad_token_id=loaded.pad_id,
    )
    texts: list[str] = loaded.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
    return texts


async def streamed(engine: Engine, request: Request) -> Answer:
    """Ask for one text and read along."""
    start, first = perf_counter(), None
    generation = engine.submit(request)
    pieces = []
    async for piece in generation.stream():
        first = first or perf_counter() - start
        pieces.append(piece)
    tokens = generation.completion.usage.completion_tokens if generation.completion else 0
    return Answer("".join(pieces), tokens, perf_counter() - start, first)


async def whole(engine: Engine, request: Request) -> Answer:
    """Ask for one text and wait for its end."""
    start = perf_counter()
    completion = await engine.submit(request).result()
    return Answer(completion.text, completion.usage.completion_tokens, perf_counter() - start)


async def in_flight(engine: Engine, *, clients: int, count: int, seed: int, stream: bool = False) -> Figures:
    """Requests that keep the engine at `clients` in flight."""
    way = streamed if stream else whole

    async def ask(sample: Sample) -> Answer:
        turn = Turn("user", (EncodedImage(sample.file), PROMPT))
        return await way(engine, Request((turn,), Sampling(MAX_TOKENS)))

    label = f"engine, {clients} in flight{', streamed' if stream else ''}"
    return await closed_loop(label, ask, samples(count, seed), clients=clients)


def measure(seed: int, *, count: int = 640) -> list[Figures]:
    """Engine and static batches in turn, on one thread."""
    other = load(str(EMBEDDED_MODEL))
    found: list[Figures] = []
    with running() as engine:
        for clients in (1, 16, 64):
            size = count if clients > 1 else count // 4
            if clients > 1:
                found.append(static_batches(other, size=clients, count=size, seed=seed + clients))
            for number, stream in enumerate((False, True), 1):
                sent = in_flight(
                    engine, clients=clients, count=size, seed=seed + clients + number, stream=stream
                )
                found.append(asyncio.run(sent))
    return found


def measure_pairs(seed: int, *, count: int = 640, clients: int = 64, times: int = 8) -> list[Figures]:
    """Static batches and the engine with as many in flight, in turn and again and again."""
    other = load(str(EMBEDDED_MODEL))
    found: list[Figures] = []
    with running() as engine:
        for number in range(times):
            first = seed + 2 * number
            found.append(static_batches(other, size=clients, count=count, seed=first))
            found.append(asyncio.run(in_flight(engine, clients=clients, count=count, seed=first + 1)))
    return found
