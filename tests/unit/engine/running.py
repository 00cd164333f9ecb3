"""An engine over the embedded model, and images for it."""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from service.engine.checkpoint.load import load
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.engine import Engine
from service.engine.inputs import DecodedTurn
from service.engine.options import EngineOptions
from service.engine.pixels import normaliser_of, pixels
from service.engine.ranks.thread import ThreadRank
from service.engine.request import EncodedImage, Request, Sampling, Turn
from service.media.decode import ImageDecoder, ImageLimits, LocalDecoder
from service.settings import EMBEDDED_MODEL
from training.shapes import draw, random_scene

DECODER = LocalDecoder(ImageLimits())


@functools.cache
def embedded() -> LoadedModel:
    """The embedded model, loaded once."""
    return load(str(EMBEDDED_MODEL))


def engine_of(
    loaded: LoadedModel | None = None, *, decoder: ImageDecoder = DECODER, **options: Any
) -> Engine:
    """An engine whose rank is a thread."""
    loaded, parsed = loaded or embedded(), EngineOptions(**options)
    return Engine(loaded, ThreadRank(loaded, parsed), decoder=decoder, options=parsed)


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


def picture(seed: int, width: int = 112, height: int = 112) -> EncodedImage:
    """A drawn image."""
    rng, file = np.random.default_rng(seed), io.BytesIO()
    draw(random_scene(rng), rng, width=width, height=height).save(file, "PNG")
    return EncodedImage(file.getvalue())


def ask(*content: str | EncodedImage, max_tokens: int = 16, **rest: Any) -> Request:
    """A request of one turn; what is not the request's own goes to its sampling."""
    own = {name: rest.pop(name) for name in ("deadline", "shorten", "max_tiles", "client") if name in rest}
    return Request((Turn("user", content),), Sampling(max_tokens, **rest), **own)


@torch.inference_mode()
def by_generate(loaded: LoadedModel, request: Request, **options: Any) -> str:
    """The text that transformers' own `generate` gives, alone."""
    turns = [
        DecodedTurn(
            turn.role,
            tuple(part if isinstance(part, str) else DECODER.decode(part.data) for part in turn.content),
        )
        for turn in request.turns
    ]
    inputs = loaded.inputs.build(turns, max_tiles=request.max_tiles)
    tensors: dict[str, Any] = dict(inputs.extra)
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
