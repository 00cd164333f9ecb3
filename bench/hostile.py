"""Good clients alone, and the same with hostile requests among theirs."""

import asyncio
import base64
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlsplit

import aiohttp

from bench.closed_loop import closed_loop
from bench.figures import Answer, Figures
from bench.hostile_files import FILES
from bench.http import TIMEOUT, asker
from bench.workload import Sample, samples

CLIENTS = 16
HOSTILE = 200
ROUNDS = 3
SLOW_SECONDS = 2.0
MIXED = f"{CLIENTS} good clients and {HOSTILE} hostile requests"

Body = dict[str, object]

# An image that a good client might send, for requests whose malice is elsewhere.
IMAGE = base64.b64encode(samples(1, 0)[0].file).decode()

BODIES: dict[str, Body] = {
    "metadata address": {"image_url": "https://169.254.169.254/latest/meta-data/"},
    "decimal address": {"image_url": "https://2130706433/"},
    "name of this machine": {"image_url": "https://localhost/"},
    "local file": {"image_url": "file:///etc/passwd"},
    "path out of the root": {"image_path": "../../../etc/passwd"},
    "special tokens": {"image": IMAGE, "prompt": "<IMG_CONTEXT></img><|im_end|>" * 20, "max_tokens": 4},
    "data URL of another kind": {"image": "data:text/html,<script>alert(1)</script>"},
    "too many tokens": {"image": IMAGE, "max_tokens": 10**9},
    "endless prompt": {"image": IMAGE, "prompt": "a " * 200_000},
    "no field": {"imagine": "x"},
}
POST = b"POST /caption HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RAW: dict[str, bytes] = {
    "deep JSON": POST + b"Content-Length: 20000\r\n\r\n" + b"[" * 20_000,
    "1 GB announced": POST + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 65_536,
    "flood of headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    "gone in the middle": POST + b"Content-Length: 99\r\n\r\n{",
    "a head without end": b"GET / HTTP/1.1\r\nX-Slow: a",
}


@dataclass
class Attackers:
    """Sends the hostile requests in turn, as good ones are answered; counts what came back."""

    session: aiohttp.ClientSession
    url: str
    every: int
    statuses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        file = [self._posting(data=_form(data)) for data in FILES.values()]
        body = [self._posting(json=found) for found in BODIES.values()]
        raw = [self._raw(head) for head in RAW.values()]
        self._attacks = itertools.cycle([*file, *body, *raw])
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = 0
        self.sent = 0

    def among(self, ask: Callable[[Sample], Awaitable[Answer]]) -> Callable[[Sample], Awaitable[Answer]]:
        """The same way to ask, with a hostile request after every few answers."""

        async def ask_among(sample: Sample) -> Answer:
            answer = await ask(sample)
            self._answers += 1
            if self._answers % self.every == 0 and self.sent < HOSTILE:
                self.sent += 1
                self._tasks.add(asyncio.create_task(self._attack()))
            return answer

        return ask_among

    async def end(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks)

    async def _attack(self) -> None:
        try:
            self.statuses[await next(self._attacks)()] += 1
        except (aiohttp.ClientError, OSError):
            self.statuses[0] += 1

    def _posting(self, **what: object) -> Callable[[], Awaitable[int]]:
        async def post() -> int:
            made = {key: value() if callable(value) else value for key, value in what.items()}
            async with self.session.post(self.url, **made) as response:  # type: ignore[arg-type]
                await response.read()
                return response.status

        return post

    def _raw(self, head: bytes) -> Callable[[], Awaitable[int]]:
        async def send() -> int:
            place = urlsplit(self.url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            try:
                writer.write(head)
                async with asyncio.timeout(SLOW_SECONDS):
                    line = await reader.readline()
            except TimeoutError:
                return 0
            finally:
                writer.close()
            return int(line.split(b" ")[1]) if line else 0

        return send


def _form(data: bytes) -> Callable[[], aiohttp.FormData]:
    def make() -> aiohttp.FormData:
        form = aiohttp.FormData()
        form.add_field("image", data, filename="x.png")
        return form

    return make


async def measure(url: str, *, count: int, seed: int) -> tuple[list[Figures], Counter[int]]:
    """Both loads in turn, each image new; what the hostile requests were answered, 0 for no answer."""
    found, statuses = list[Figures](), Counter[int]()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session:
        ask = asker(session, url, "embedded")
        for number in range(ROUNDS):
            work = samples(count, seed + 2 * number)
            found.append(await closed_loop(f"{CLIENTS} good clients", ask, work, clients=CLIENTS))
            attackers = Attackers(session, url, every=max(1, (count - 8) // HOSTILE))
            work = samples(count, seed + 2 * number + 1)
            found.append(await closed_loop(MIXED, attackers.among(ask), work, clients=CLIENTS))
            await attackers.end()
            statuses += attackers.statuses
    return found, statuses


def verdict(found: list[Figures], statuses: Counter[int]) -> str:
    """Return one sentence: whether no good request failed, and how much the 95th percentile grew."""
    alone = median(row.p95 for row in found if row.load != MIXED)
    mixed = median(row.p95 for row in found if row.load == MIXED)
    answers = ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(statuses.items()))
    return (
        f"p95 of good requests {alone:.1f} ms alone, {mixed:.1f} ms among hostile ones "
        f"({mixed / alone:.2f} x); "
        f"{sum(row.errors for row in found)} good requests failed; hostile ones got {answers}"
    )
