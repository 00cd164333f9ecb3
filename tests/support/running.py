"""An engine over the embedded model, and images for it."""

import asyncio
import functools
import io
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from bench.thread_rank import ThreadRank
from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.engine.runner.pixels import normaliser_of, pixels
from service.engine_options import EngineOptions
from service.media.decode import ImageDecoder, ImageLimits, LocalDecoder
from service.media.tiles import TileSpec
from service.native.engine import Engine
from service.prompt.inputs import DecodedTurn, Picture
from service.protocol.request import Completion, Content, EncodedImage, EncodedVideo, Request, Sampling, Turn
from service.settings import EMBEDDED_MODEL
from training.shapes import draw, random_scene

DECODER = LocalDecoder(ImageLimits())
DEADLINE_SECONDS = 30.0


@functools.cache
def embedded() -> LoadedModel:
    """The embedded model, loaded once."""
    return load(str(EMBEDDED_MODEL))


def engine_of(
    loaded: LoadedModel | None = None, *, decoder: ImageDecoder = DECODER, **options: Any
) -> Engine:
    """An engine whose rank is a thread."""
    loaded, parsed = loaded or embedded(), EngineOptions(**options)
    return Engine(ThreadRank(loaded, parsed), decoder=decoder, options=parsed)


@contextmanager
def running(
    loaded: LoadedModel | None = None, *, decoder: ImageDecoder = DECODER, **options: Any
) -> Iterator[Engine]:
    """An engine whose rank is a thread; it has started, and is closed again."""
    engine = engine_of(loaded, decoder=decoder, **options)
    engine.start()
    try:
        yield engine
    finally:
        engine.close(10)


@dataclass(frozen=True)
class CountingDecoder(LocalDecoder):
    """A decoder that notes in `decoded` the files it was given."""

    decoded: list[bytes] = field(default_factory=list)

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """Note the file, and cut it."""
        self.decoded.append(data)
        return super().cut(data, spec)


def picture(seed: int, width: int = 112, height: int = 112) -> EncodedImage:
    """A drawn image."""
    rng, file = np.random.default_rng(seed), io.BytesIO()
    draw(random_scene(rng), rng, width=width, height=height).save(file, "PNG")
    return EncodedImage(file.getvalue())


def ask(*content: Content, max_tokens: int = 16, **rest: Any) -> Request:
    """A request of one turn; what is not the request's own goes to its sampling."""
    own = {name: rest.pop(name) for name in ("deadline", "shorten", "client") if name in rest}
    return Request((Turn("user", content),), Sampling(max_tokens, **rest), **own)


def spread(content: tuple[Content, ...]) -> Iterator[str | EncodedImage]:
    """The content with the frames of videos as the model card of InternVL2 has them."""
    for part in content:
        if isinstance(part, EncodedVideo):
            for index, frame in enumerate(part.frames):
                yield f"Frame{index + 1}: "
                yield EncodedImage(frame.data, max_tiles=1)
        else:
            yield part


def _decoded(loaded: LoadedModel, part: str | EncodedImage) -> str | Picture:
    if isinstance(part, str):
        return part
    if loaded.inputs.tiling is None:
        return DECODER.decode(part.data)
    return DECODER.cut(part.data, loaded.inputs.tiling.spec.at_most(part.max_tiles))


@torch.inference_mode()
def by_generate(loaded: LoadedModel, request: Request, **options: Any) -> str:
    """The text that transformers' own `generate` gives, alone."""
    turns = [
        DecodedTurn(turn.role, tuple(_decoded(loaded, part) for part in spread(turn.content)))
        for turn in request.turns
    ]
    inputs = loaded.inputs.build(turns)
    tensors: dict[str, Any] = {name: torch.from_numpy(value) for name, value in inputs.extra.items()}
    if inputs.tiles:
        tensors["pixel_values"] = pixels(inputs.tiles, normaliser_of(loaded), loaded.device)
    tensors["input_ids"] = torch.tensor([inputs.input_ids])
    tensors["attention_mask"] = torch.ones_like(tensors["input_ids"])
    model: Any = loaded.model
    ids = model.generate(
        **tensors,
        max_new_tokens=request.sampling.max_tokens,
        do_sample=False,
        eos_token_id=sorted(loaded.stop_ids),
        pad_token_id=loaded.pad_id,
        **options,
    )
    answer = ids[0, len(inputs.input_ids) :].tolist()
    text: str = loaded.tokenizer.decode(answer, skip_special_tokens=True)
    return text


def answer(engine: Engine, *requests: Request) -> list[Completion]:
    """The answers to requests that are sent together."""

    async def all_of_them() -> list[Completion]:
        handles = [engine.submit(request) for request in requests]
        return await asyncio.gather(*(handle.result() for handle in handles))

    return asyncio.run(asyncio.wait_for(all_of_them(), DEADLINE_SECONDS))


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.001)  # without a pause the threads of the engine hardly get a turn


def mixed_requests(count: int, seed: int) -> list[Request]:
    """Requests of all sorts: images of several sizes, several images, none, turns, long and short prompts."""
    chance, found = random.Random(seed), list[Request]()
    sizes = [(112, 112), (112, 224), (168, 84), (300, 100)]
    for number in range(count):
        words = " ".join(["describe"] * chance.choice([1, 5, 60]))
        pictures = [picture(seed * 1000 + number * 3 + k, *chance.choice(sizes)) for k in range(2)]
        content: tuple[str | EncodedImage, ...] = (*pictures[: chance.choice([0, 1, 1, 1, 2])], words)
        turns: tuple[Turn, ...] = (Turn("user", content),)
        if chance.random() < 0.2:
            turns = (Turn("user", ("Hello.",)), Turn("assistant", ("a red circle",)), *turns)
        found.append(Request(turns, Sampling(chance.choice([1, 4, 12, 40]))))
    return found


def without_stops() -> LoadedModel:
    """The embedded model, which now writes until its limit."""
    return replace(embedded(), stop_ids=frozenset())
