"""`vllm serve` under the loads of bench/gpu.py."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import aiohttp

from bench.closed_loop import Ask, closed_loop
from bench.figures import Answer, Figures
from bench.random_checkpoint import ModelShape
from bench.tile_load import WARM_UP, Load, photos, prompt
from bench.workload import Sample

VLLM_PORT = 8123
VLLM_SECONDS = 900.0


def vllm_asker(session: aiohttp.ClientSession, load_: Load, tokens: int) -> Ask:
    """Asks a vLLM server for the same, reading along."""

    async def ask(sample: Sample) -> Answer:
        url = "data:image/jpeg;base64," + base64.b64encode(sample.file).decode()
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": prompt(load_)},
        ]
        body = {
            "model": "random",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        start, first = perf_counter(), None
        address = f"http://127.0.0.1:{VLLM_PORT}/v1/chat/completions"
        async with session.post(address, json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"status {response.status}")
            async for _ in _events(response):
                first = first or perf_counter() - start
        return Answer("", tokens, perf_counter() - start, first)

    return ask


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, object]]:
    """Events of a stream that hold text."""
    async for line in response.content:
        data = line.decode().removeprefix("data: ").strip()
        if data and data != "[DONE]":
            event = json.loads(data)
            if event["choices"] and event["choices"][0]["delta"].get("content"):
                yield event


@contextmanager
def vllm_server(directory: Path) -> Iterator[None]:
    """`vllm serve` on the same checkpoint."""
    command = ["vllm", "serve", str(directory), "--served-model-name", "random", "--port", str(VLLM_PORT)]
    server = subprocess.Popen([*command, "--max-model-len", "8192"])  # noqa: S603
    try:
        asyncio.run(_until_healthy(server))
        yield
    finally:
        server.terminate()
        server.wait(60)


async def _until_healthy(server: subprocess.Popen[bytes]) -> None:
    deadline = perf_counter() + VLLM_SECONDS
    async with aiohttp.ClientSession() as session:
        while perf_counter() < deadline:
            if server.poll() is not None:
                raise RuntimeError(f"vllm serve ended with status {server.returncode}; its output says why")
            try:
                async with session.get(f"http://127.0.0.1:{VLLM_PORT}/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(1)
    raise TimeoutError(f"vllm serve was not healthy within {VLLM_SECONDS:.0f} s")


async def measure_vllm(shape: ModelShape, chosen: Sequence[Load], tokens: int) -> list[Figures]:
    """A vLLM server under each load."""
    found = []
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for one in chosen:
            work = photos(one, shape.side, WARM_UP + max(8, 4 * one.clients))
            ask = vllm_asker(session, one, tokens)
            found.append(await closed_loop(f"vLLM, {one}", ask, work, clients=one.clients, warm=WARM_UP))
    return found
