"""What a server does with more than it can answer: goodput, latency, and how quickly it refuses."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from urllib.parse import urlsplit

from bench.connection import Connection, Reply
from bench.figures import quantile
from bench.http import caption_body
from bench.workload import samples

COLUMNS = (
    "load",
    "captions/s",
    "p50 ms",
    "p95 ms",
    "refused/s",
    "refused p50 ms",
    "refused p95 ms",
    "errors",
)
HEADER = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|"

# The first part of each load is not counted: until then the queue fills.
WARM_SHARE = 0.25
REFUSED = frozenset((429, 503))


@dataclass
class Outcome:
    """What one load gave: the seconds of each answer and each refusal that ended while it was measured."""

    load: str
    seconds: float
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def rate(self) -> float:
        """Captions a second."""
        return len(self.answered) / self.seconds

    @property
    def row(self) -> str:
        """A row under `HEADER`."""
        return (
            f"| {self.load} | {self.rate:.0f} "
            f"| {quantile(self.answered, 0.5):.0f} | {quantile(self.answered, 0.95):.0f} "
            f"| {len(self.refused) / self.seconds:.0f} "
            f"| {quantile(self.refused, 0.5):.1f} | {quantile(self.refused, 0.95):.1f} | {self.errors} |"
        )


class Load:
    """One load on a server, for `seconds`; what ends after the first quarter of them is counted."""

    def __init__(
        self, url: str, label: str, bodies: Iterator[bytes], *, seconds: float, host: str = ""
    ) -> None:
        self.url = url
        self.host = host
        self.path = urlsplit(url).path
        self.bodies = bodies
        self.begin = perf_counter()
        self.end = self.begin + seconds
        self.counted_from = self.begin + WARM_SHARE * seconds
        self.outcome = Outcome(label, seconds * (1 - WARM_SHARE))

    async def closed_loop(self, clients: int, *, patient: bool = False) -> Outcome:
        """Clients that send a body until it is answered, then the next.

        A refused client tries again at once, or, if `patient`, after the seconds of `Retry-After`.
        """
        await asyncio.gather(*(self._client(patient=patient) for _ in range(clients)))
        return self.outcome

    async def arrivals(self, rate: float) -> Outcome:
        """Requests that arrive at a steady rate, whatever has become of those before; none is sent again."""
        idle: list[Connection] = []
        count = int(rate * (self.end - self.begin))
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(self.begin + number / rate - perf_counter())
                group.create_task(self._arrival(idle, next(self.bodies)))
        for connection in idle:
            connection.close()
        return self.outcome

    async def _connect(self) -> Connection:
        return await Connection.open(self.url, host=self.host)

    async def _client(self, *, patient: bool) -> None:
        connection = await self._connect()
        body = next(self.bodies)
        while perf_counter() < self.end:
            try:
                reply = await connection.post(self.path, body)
            except (OSError, EOFError):
                self.outcome.errors += 1
                connection = await self._connect()
                continue
            self._count(reply)
            if reply.status not in REFUSED:
                body = next(self.bodies)
            elif patient:
                await asyncio.sleep(min(reply.retry_after, self.end - perf_counter()))
        connection.close()

    async def _arrival(self, idle: list[Connection], body: bytes) -> None:
        connection = idle.pop() if idle else await self._connect()
        try:
            self._count(await connection.post(self.path, body))
        except (OSError, EOFError):
            self.outcome.errors += 1
        else:
            idle.append(connection)

    def _count(self, reply: Reply) -> None:
        if not self.counted_from <= perf_counter() <= self.end:
            return
        if reply.status == 200:
            self.outcome.answered.append(reply.seconds)
        elif reply.status in REFUSED:
            self.outcome.refused.append(reply.seconds)
        else:
            self.outcome.errors += 1


def bodies(count: int, seed: int) -> Iterator[bytes]:
    """Requests, each with an image of its own as long as `count` of them last."""
    drawn = [json.dumps(caption_body(sample)).encode() for sample in samples(count, seed)]
    return (body for again in repeat(drawn) for body in again)


async def measure(
    url: str, *, clients: int, crowd: int, seconds: float, count: int, seed: int
) -> list[Outcome]:
    """The peak with `clients`, then more than that in three ways, then the peak again."""
    work = bodies(count, seed)
    await Load(url, "", work, seconds=min(2.0, seconds)).closed_loop(clients)

    def load(label: str) -> Load:
        return Load(url, label, work, seconds=seconds)

    peak = await load(f"{clients} clients").closed_loop(clients)
    return [
        peak,
        await load("arrivals at 3 times that rate").arrivals(3 * peak.rate),
        await load(f"{crowd} clients that retry at once").closed_loop(crowd),
        await load(f"{clients} clients, right after").closed_loop(clients),
        await load(f"{crowd} clients that wait as long as Retry-After says").closed_loop(crowd, patient=True),
        await load(f"{clients} clients, right after").closed_loop(clients),
    ]
