"""The memory plan of a replica on a GPU: weights, the largest step, and pages in all that is left.

Planned from the replica's fraction of the card, never from what is free: two replicas that start on one GPU
at the same time would each count the same bytes.
"""

import gc
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image

from service.checkpoint.loaded import LoadedModel
from service.device import Cuda
from service.engine.runner.runner import Runner
from service.engine.sampling.sampler import generator_of, sample
from service.engine.scheduler import Chunk
from service.engine.sequence import Sequence
from service.engine_options import PAGE_TOKENS, EngineOptions
from service.errors import DeviceError, RequestError
from service.media.tiles import Tiling
from service.prompt.inputs import DecodedTurn
from service.prompt.prompt_reader import PromptReader
from service.protocol.request import Sampling

# What a process takes of a GPU beyond torch's allocator: its context, the libraries' own, recorded steps.
OVERHEAD_BYTES = 2**30

# Sides in pixels of the image for which a checkpoint's own processor is measured: the first that fits.
SIDES = (4096, 2048, 1024, 512)

# Any token but an image token, which would ask for an image.
TOKEN = 3


def plan_cache(
    device: torch.device, fraction: float, run_worst_step: Callable[[], None], *, cuda: Cuda = torch.cuda
) -> int:
    """Bytes for the key-value cache, once the model and the feature cache are in memory.

    `fraction` is this replica's of the card; `run_worst_step` computes the largest step there can be.
    Raises DeviceError where not even that fits.
    """
    gc.collect()  # weights that have been fused are let go of
    cuda.empty_cache()
    total, before = cuda.mem_get_info(device)[1], cuda.memory_reserved(device)
    allowed = int(total * fraction)
    cuda.reset_peak_memory_stats(device)
    try:
        run_worst_step()
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the largest step does not fit next to the weights, {before} B of {allowed} B; "
            "take a larger GPU, or lower CAPSTAN_MAX_TILES"
        ) from error
    step = cuda.max_memory_reserved(device) - before
    cuda.empty_cache()
    return max(0, allowed - OVERHEAD_BYTES - before - step)


@torch.inference_mode()
def run_worst_step(runner: Runner, loaded: LoadedModel, options: EngineOptions) -> None:
    """Compute the largest step: the most prompt tokens, the most tiles, and a token drawn for every slot."""
    length = min(options.prefill_tokens, loaded.context_length)
    pages = -(-length // PAGE_TOKENS)
    counts = [length] * (options.prefill_tokens // length)
    runner.allocate(pages * len(counts), PAGE_TOKENS)
    features = list(_features(runner, loaded, options))
    chunks, reader = list[Chunk](), PromptReader(loaded.model)
    for number, count in enumerate(counts):
        own = list(range(number * pages, (number + 1) * pages))
        sequence = Sequence(Sampling(1), prompt=[TOKEN] * count, limit=1, pages=own)
        sequence.positions = reader.positions(sequence.prompt, {})
        sequence.sight = reader.sight(sequence.prompt, {})
        chunks.append(Chunk(sequence, 0, count))
    logits = runner.run(chunks)  # [B, V]
    drawn = Sampling(1, temperature=1.0, top_p=0.9)
    count = options.slots * (1 + options.prompt_lookup)
    rows = [Sequence(drawn, generator=generator_of(drawn)) for _ in range(count)]
    sample(logits[:1].repeat(count, 1), rows)
    del features
    runner.allocate(1, 1)


def _features(runner: Runner, loaded: LoadedModel, options: EngineOptions) -> Iterator[torch.Tensor]:
    tiling = loaded.inputs.tiling
    if tiling is None:
        if (extra := _largest_image(loaded)) is not None:
            yield runner.encode(extra)
        return
    side = tiling.spec.size
    yield from runner.features([np.zeros((most_tiles(tiling, options), side, side, 3), np.uint8)])


def most_tiles(tiling: Tiling, options: EngineOptions) -> int:
    """Tiles whose features one step may compute: of one image at least, else as many as its tokens hold."""
    return max(tiling.spec.most_tiles, options.prefill_tokens // tiling.tokens_per_tile)


def _largest_image(loaded: LoadedModel) -> dict[str, torch.Tensor] | None:
    """What the checkpoint's processor makes of the largest image whose tokens fit the context."""
    for side in SIDES:
        turn = DecodedTurn("user", (Image.new("RGB", (side, side)), "?"))
        try:
            inputs = loaded.inputs.build([turn])
        except RequestError:
            return None
        if len(inputs.input_ids) <= loaded.context_length:
            return {name: torch.from_numpy(value) for name, value in inputs.extra.items()}
    return None
