"""How well a key's limits hold across replicas: a simulation with the limiters as they are.

`python -m tests.unit.api.auth.sharing` prints the table of docs/access.md.
"""

import heapq
from dataclasses import dataclass, replace
from random import Random

from service.api.auth.keys import ApiKey
from service.api.auth.rate_limiter import RateLimiter, RateLimiters
from service.errors import RequestError

# The burst of the first minutes is not part of the rate.
WARM_SECONDS = 120.0


@dataclass(frozen=True)
class Load:
    """A key that sends `demand` times its limit, at random moments, each request answered in `seconds`."""

    requests_per_minute: int | None = None
    concurrent_requests: int | None = None
    replicas: int = 4
    shared_by: int = 4
    demand: float = 0.9
    seconds: float = 1.0
    least_busy: bool = True
    minutes: int = 20

    @property
    def rate(self) -> float:
        """Requests a second that are sent."""
        if self.requests_per_minute is not None:
            return self.demand * self.requests_per_minute / 60
        return self.demand * (self.concurrent_requests or 0) / self.seconds


@dataclass(frozen=True)
class Outcome:
    """What passed, as a share of the limit, and was refused, of what was sent; the most at once."""

    passed: float
    refused: float
    most_at_once: int


def measure(load: Load, seed: int = 1) -> Outcome:
    """Run one load."""
    random, now = Random(seed), 0.0
    key = ApiKey(
        name="alice",
        sha256="0" * 64,
        requests_per_minute=load.requests_per_minute,
        concurrent_requests=load.concurrent_requests,
    )
    limiters = [
        RateLimiters(clock=lambda: now, replicas=lambda: load.shared_by).of(key) for _ in range(load.replicas)
    ]
    running: list[tuple[float, int]] = []
    sent = refused = most = 0
    while now < WARM_SECONDS + 60 * load.minutes:
        now += random.expovariate(load.rate)
        while running and running[0][0] <= now:
            limiters[heapq.heappop(running)[1]].release()
        chosen = _chosen(limiters, load, random)
        counts = now > WARM_SECONDS
        sent += counts
        try:
            limiters[chosen].acquire()
        except RequestError:
            refused += counts
            continue
        heapq.heappush(running, (now + random.expovariate(1 / load.seconds), chosen))
        most = max(most, len(running))
    per_minute = (sent - refused) / load.minutes
    return Outcome(per_minute / (load.requests_per_minute or 1), refused / sent, most)


def _chosen(limiters: list[RateLimiter], load: Load, random: Random) -> int:
    if not load.least_busy:
        return random.randrange(load.replicas)
    least = min(limiter.running for limiter in limiters)
    return random.choice([index for index, limiter in enumerate(limiters) if limiter.running == least])


def table() -> str:
    """The rows of docs/access.md."""
    rows = []
    for replicas in (2, 4, 16):
        for requests, concurrent, demand in (
            (60, None, 0.9),
            (600, None, 0.9),
            (None, 8, 0.5),
            (None, 64, 0.5),
        ):
            for shared_by in (replicas, 1):
                load = Load(requests, concurrent, replicas, shared_by, demand)
                most = measure(replace(load, demand=20))
                granted = f"{most.passed:.0%}" if requests else f"{most.most_at_once / (concurrent or 1):.0%}"
                limit = f"{requests} a minute" if requests else f"{concurrent} at once"
                busy, chance = measure(load).refused, measure(replace(load, least_busy=False)).refused
                rows.append(f"| {replicas} | {limit} | {shared_by} | {granted} | {busy:.1%} | {chance:.1%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())  # noqa: T201 - a command's output
