"""InternVL2-8B's shape with random weights on a GPU: captions a second, and how near the card's limits.

Source of the shape: the published config.json. `--small` runs the same on a CPU, to prove the script.
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, time

import numpy as np
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, LlamaConfig

from bench.closed_loop import closed_loop
from bench.engine import streamed
from bench.figures import HEADER, Answer, Figures
from bench.workload import Sample
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.engine import Engine
from service.engine.inputs import DecodedTurn, ModelInputs
from service.engine.options import EngineOptions
from service.engine.request import EncodedImage, Request, Sampling, Turn
from service.media.decode import ImageLimits, LocalDecoder
from service.media.tiles import TileSpec, Tiling

IMAGE_TOKEN = 7
SIDE, SMALL_SIDE = 448, 56
QUESTION_TOKENS = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape and the work that it is given."""

    vision: InternVLVisionConfig
    text: LlamaConfig
    side: int
    tiles: int
    tokens_per_tile: int
    answer: int

    @property
    def prompt(self) -> int:
        """Tokens of a prompt, images included."""
        return self.tiles * self.tokens_per_tile + QUESTION_TOKENS


def internvl2_8b() -> Shape:
    """24 layers of 1024 see, 32 of 4096 write; 13 tiles and 200 tokens a caption."""
    return Shape(
        vision=InternVLVisionConfig(attention_bias=True),
        text=LlamaConfig(
            vocab_size=92_553,
            hidden_size=4096,
            intermediate_size=14_336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            max_position_embeddings=8192,
        ),
        side=SIDE,
        tiles=13,
        tokens_per_tile=256,
        answer=200,
    )


def small() -> Shape:
    """The same in small."""
    return Shape(
        vision=InternVLVisionConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            image_size=[SMALL_SIDE, SMALL_SIDE], attention_bias=True,
        ),
        text=LlamaConfig(
            vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512,
        ),
        side=SMALL_SIDE,
        tiles=3,
        tokens_per_tile=4,
        answer=20,
    )  # fmt: skip


class RandomInputs:
    """Prompts of one length. See `InputBuilder`."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.rng = np.random.default_rng(1)
        self.tiling = Tiling(TileSpec(shape.side, shape.tiles, thumbnail=False), shape.tokens_per_tile)

    def build(self, turns: Sequence[DecodedTurn], *, max_tiles: int | None = None) -> ModelInputs:  # noqa: ARG002
        """A prompt, whatever the turns say, about their images."""
        tiles = tuple(part for turn in turns for part in turn.content if isinstance(part, np.ndarray))
        counts = tuple(map(len, tiles))
        question = self.rng.integers(10, self.shape.text.vocab_size, QUESTION_TOKENS).tolist()
        image = [IMAGE_TOKEN] * (sum(counts) * self.shape.tokens_per_tile)
        return ModelInputs(input_ids=[*image, *question], tiles=tiles, tiles_per_image=counts)


class NoTokenizer:
    """Turns tokens into nothing: random weights have nothing to say."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:  # noqa: ARG002
        """No text."""
        return ""


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A model of random weights."""
    config = InternVLConfig(
        vision_config=shape.vision,
        text_config=shape.text,
        image_token_id=IMAGE_TOKEN,
        image_seq_length=shape.tokens_per_tile,
        tie_word_embeddings=False,
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = InternVLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)
    model.eval().requires_grad_(requires_grad=False)
    return LoadedModel(
        name="random", revision=None, architecture="internvl", model=model, tokenizer=NoTokenizer(),
        inputs=RandomInputs(shape), stop_ids=frozenset(), pad_id=0,
        context_length=shape.text.max_position_embeddings, device=device, dtype=dtype,
    )  # fmt: skip


class RandomTiles(LocalDecoder):
    """As many tiles as there may be of every file, all new."""

    def cut(self, data: bytes, spec: TileSpec) -> np.ndarray:
        """See `ImageDecoder`."""
        size = (spec.max_tiles, spec.size, spec.size, 3)
        return np.random.default_rng(list(data)).integers(0, 256, size, np.uint8)


async def in_flight(engine: Engine, shape: Shape, *, clients: int, count: int) -> Figures:
    """Captions a second with `clients` in flight."""
    work = [Sample(f"{time()} {number}".encode(), "") for number in range(count)]

    async def ask(sample: Sample) -> Answer:
        turn = Turn("user", (EncodedImage(sample.file), "?"))
        return await streamed(engine, Request((turn,), Sampling(shape.answer)))

    return await closed_loop(f"{clients} in flight", ask, work, clients=clients, warm=1)


def limits(engine: Engine, shape: Shape, loaded: LoadedModel, *, peak_flops: float, peak_bytes: float) -> str:
    """Model FLOP utilization of reading a prompt, and bytes a second of writing one answer."""
    weights = sum(parameter.numel() for parameter in loaded.model.get_decoder().parameters())

    async def once(tokens: int) -> float:
        turn = Turn("user", (EncodedImage(f"{time()}".encode()), "?"))
        start = perf_counter()
        await engine.submit(Request((turn,), Sampling(tokens))).result()
        return perf_counter() - start

    async def several(tokens: int) -> float:
        return min([await once(tokens) for _ in range(3)])

    first, whole = asyncio.run(several(1)), asyncio.run(several(shape.answer))
    flops = 2 * weights * shape.prompt / first
    read = weights * loaded.dtype.itemsize * (shape.answer - 1) / max(whole - first, 1e-9)
    return (
        f"first token after {1000 * first:.0f} ms, images included: {flops / 1e12:.1f} TFLOP/s of the "
        f"language model, {flops / peak_flops:.1%} of the card\n"
        f"decoding alone reads {read / 1e9:.0f} GB/s of weights, {read / peak_bytes:.1%} of the card"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small model on the CPU")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bfloat16; H100 and H200: 989")
    parser.add_argument("--peak-gigabytes", type=float, default=4800.0, help="memory, a second; H200: 4800")
    parser.add_argument("--no-graphs", action="store_true", help="without CUDA graphs, to see what they give")
    arguments = parser.parse_args()
    shape = small() if arguments.small else internvl2_8b()
    device = torch.device("cpu" if arguments.small else "cuda")
    loaded = build(shape, device, torch.float32 if arguments.small else torch.bfloat16)
    options = EngineOptions(preparation_threads=8, cuda_graphs=not arguments.no_graphs)
    engine = Engine(loaded, decoder=RandomTiles(ImageLimits()), options=options)
    engine.start()
    print(engine.describe())
    print(HEADER)
    try:
        for clients in (1, 16, 64):
            figures = asyncio.run(in_flight(engine, shape, clients=clients, count=max(8, 4 * clients)))
            print(figures.row, flush=True)
        peaks = {"peak_flops": arguments.peak_tflops * 1e12, "peak_bytes": arguments.peak_gigabytes * 1e9}
        print(limits(engine, shape, loaded, **peaks))
    finally:
        engine.close(10)


if __name__ == "__main__":
    main()
