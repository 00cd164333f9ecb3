"""The service over HTTP, through whatever stands in front of it; also other servers with OpenAI's API."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import aiohttp

from bench.closed_loop import Ask, closed_loop
from bench.figures import Answer, Figures
from bench.workload import MAX_TOKENS, PROMPT, Sample, samples

TIMEOUT = aiohttp.ClientTimeout(total=120)


def caption_body(sample: Sample) -> dict[str, Any]:
    """A request to POST /caption."""
    return {"image": sample.data_url, "prompt": PROMPT, "max_tokens": MAX_TOKENS}


def chat_body(sample: Sample, model: str) -> dict[str, Any]:
    """The same request to POST /v1/chat/completions."""
    content = [
        {"type": "image_url", "image_url": {"url": sample.data_url}},
        {"type": "text", "text": PROMPT},
    ]
    messages = [{"role": "user", "content": content}]
    return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}


def asker(session: aiohttp.ClientSession, url: str, model: str) -> Ask:
    """A client of the address, by the API that its path names."""
    chat = url.endswith("/chat/completions")

    async def ask(sample: Sample) -> Answer:
        start = perf_counter()
        body = chat_body(sample, model) if chat else caption_body(sample)
        async with session.post(url, json=body) as response:
            answer = await response.json()
            if response.status != 200:
                raise RuntimeError(f"status {response.status}")
            text = answer["choices"][0]["message"]["content"] if chat else answer["caption"]
            return Answer(str(text), answer["usage"]["completion_tokens"], perf_counter() - start)

    return ask


async def measure(
    url: str, *, model: str, loads: Sequence[int], count: int, seed: int, same: bool
) -> list[Figures]:
    """One closed loop after the other, every image new unless `same`."""
    found = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session:
        ask = asker(session, url, model)
        for number, clients in enumerate(loads):
            size = count if clients > 1 else count // 4
            work = samples(1, seed) * size if same else samples(size, seed + number)
            label = f"HTTP, {clients} client{'s' if clients > 1 else ''}{', one image' if same else ''}"
            found.append(await closed_loop(label, ask, work, clients=clients))
    return found
