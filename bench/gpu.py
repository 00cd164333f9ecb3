"""InternVL2-8B's shape with random weights on a GPU: several loads, how near the card's peaks, and vLLM.

`--small` runs the same on a CPU, to prove the script.
"""

import argparse
import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from bench.closed_loop import Ask, closed_loop
from bench.engine import streamed
from bench.figures import HEADER, Answer, Figures
from bench.gpu_profile import card_of, profiled
from bench.random_checkpoint import INTERNVL2_8B, SMALL, ModelShape, write
from bench.tile_load import WARM_UP, Load, loads, photos, prompt
from bench.vllm import measure_vllm, vllm_server
from bench.workload import Sample
from service.checkpoint.load import load
from service.engine.runner.fused import FusedRunner
from service.engine.runner.graphs import CudaGraph
from service.engine.scheduler import Chunk
from service.engine.sequence import Sequence as RunningSequence
from service.media.decode import ImageLimits
from service.media.sandbox.pool import DecodePool
from service.media.sandbox.worker import Bounds
from service.native.engine import Engine
from service.native.start import native_engine
from service.protocol.request import EncodedImage, Request, Sampling, Turn
from service.settings import Settings

DECODE_PROCESSES = 8
DECODE_SECONDS = 10.0
PAGE_TOKENS = 256
# Activations of a step, recorded steps and what CUDA itself takes.
RESERVE_BYTES = 3 * 2**30


@contextmanager
def running(directory: Path, *, graphs: bool, gpus: int) -> Iterator[Engine]:
    """An engine with its decode processes."""
    pool = DecodePool(Bounds(ImageLimits(), DECODE_SECONDS), processes=DECODE_PROCESSES)
    given: dict[str, Any] = {
        "model": str(directory), "cuda_graphs": graphs, "preparation_threads": DECODE_PROCESSES,
    }  # fmt: skip
    try:
        engine = native_engine(Settings(**given), gpus, pool)
        engine.start()
        pool.wait_until_ready()
        try:
            yield engine
        finally:
            engine.close(10)
    finally:
        pool.close()


def asker(engine: Engine, load_: Load, tokens: int) -> Ask:
    """Asks an engine, reading along."""

    async def ask(sample: Sample) -> Answer:
        turn = Turn("user", (EncodedImage(sample.file), prompt(load_)))
        return await streamed(engine, Request((turn,), Sampling(tokens)))

    return ask


def measure(engine: Engine, shape: ModelShape, chosen: Sequence[Load], tokens: int) -> Iterator[Figures]:
    """An engine under each load, after a few requests to warm up."""
    for one in chosen:
        work = photos(one, shape.side, WARM_UP + max(8, 4 * one.clients))
        ask = asker(engine, one, tokens)
        yield asyncio.run(closed_loop(f"{one}", ask, work, clients=one.clients, warm=WARM_UP))


def chunks(count: int, *, start: int, end: int) -> list[Chunk]:
    """Sequences of `end` tokens of which all from `start` on are computed, each with pages of its own."""
    pages = -(-end // PAGE_TOKENS)
    return [
        Chunk(
            RunningSequence(
                Sampling(1),
                prompt=[3] * end,
                limit=1,
                pages=list(range(number * pages, (number + 1) * pages)),
            ),
            start,
            end,
        )
        for number in range(count)
    ]


def steps(directory: Path, *, graphs: bool) -> Iterator[str]:
    """Single steps of the fused runner: where their time goes, and the shares of the card's peaks."""
    name = torch.cuda.get_device_name()
    card = card_of(name)
    runner = FusedRunner(
        load(str(directory), device=torch.device("cuda", 0)), record=CudaGraph if graphs else None
    )
    weights = sum(layer.nbytes for layer in _weights(runner))
    free = torch.cuda.mem_get_info()[0] - RESERVE_BYTES
    with torch.inference_mode():
        for count, start, end in ((1, 2047, 2048), (16, 2047, 2048), (64, 2047, 2048), (1, 0, 4096)):
            cached = count * end * runner.shape.token_bytes
            if cached > free:
                yield f"{name}: {count} x {end} tokens do not fit next to the weights"
                continue
            runner.allocate(count * -(-end // PAGE_TOKENS), PAGE_TOKENS)
            runner.capture(count)
            work = chunks(count, start=start, end=end)
            found = profiled(lambda work=work: runner.run(work))  # type: ignore[misc]
            torch.cuda.synchronize()
            begin = perf_counter()
            for _ in range(10):
                runner.run(work)
            torch.cuda.synchronize()
            seconds = (perf_counter() - begin) / 10
            tokens = count * (end - start)
            line = f"{name}: {count} x {end - start} tokens after {start}: {1000 * seconds:.2f} ms; {found}"
            if card is not None and start:  # a step that decodes reads all weights and all that is cached
                line += f"; {(weights + cached) / seconds / card.bytes:.0%} of the memory's peak"
            elif card is not None:
                line += f"; {2 * weights / 2 * tokens / seconds / card.flops:.0%} of the FLOPs' peak"
            yield line


def _weights(runner: FusedRunner) -> Iterator[torch.Tensor]:
    model = runner.language_model
    for layer in model.layers:
        yield from (one.weight for one in (layer.qkv, layer.out, layer.gate_up, layer.down))
    yield model.head.weight


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small model on the CPU, one load")
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--no-graphs", action="store_true", help="without CUDA graphs, to see what they give")
    arguments = parser.parse_args()
    shape = SMALL if arguments.small else INTERNVL2_8B
    chosen = loads(shape.tiles)[1:2] if arguments.small else loads(shape.tiles)
    with TemporaryDirectory() as name:
        directory = Path(name)
        write(directory, shape)
        print(HEADER)
        with running(directory, graphs=not arguments.no_graphs, gpus=int(not arguments.small)) as engine:
            for figures in measure(engine, shape, chosen, arguments.tokens):
                print(figures.row, flush=True)
            print(engine.describe())
        if arguments.small:
            return
        if shutil.which("vllm") is None:
            print("vllm is not installed: no comparison")
        else:  # before this process takes memory of the GPU, as vLLM wants nine tenths of it free
            with vllm_server(directory):
                for figures in asyncio.run(measure_vllm(shape, chosen, arguments.tokens)):
                    print(figures.row, flush=True)
        for line in steps(directory, graphs=not arguments.no_graphs):
            print(line)


if __name__ == "__main__":
    main()
