"""Simulates what each signal for autoscaling costs, and how many requests it makes wait.

Replicas share their capacity among the requests in their slots; other requests wait. No clock, no process, no
chance but that of a seed.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random

from service.autoscaling.policy import replicas_for

STEP = 0.1  # seconds
SLOTS = 64
START_SECONDS = 60.0  # until a new replica serves
REPORT_SECONDS, LOOK_BACK_SECONDS = 6.0, 30.0  # Serve's defaults
UPSCALE_DELAY, DOWNSCALE_DELAY = 10.0, 60.0
MOST_REPLICAS = 8
LATE_SECONDS = 2.0

# InternVL2-8B on an H100, by arithmetic: 4.6 TFLOP a tile at two fifths of 989 TFLOP/s, and steps of 12 ms
# for one answer, of 16 ms for 64.
TILE_SECONDS, TOKEN_WORK, TOKEN_SECONDS = 0.0118, 0.016 / 64, 0.012


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one size."""

    tiles: int
    tokens: int

    @property
    def work(self) -> float:
        """Seconds of a replica with full batches."""
        return self.tiles * TILE_SECONDS + self.tokens * TOKEN_WORK

    @property
    def seconds(self) -> float:
        """Seconds until the answer of an idle replica."""
        return self.tiles * TILE_SECONDS + self.tokens * TOKEN_SECONDS


SHORT, TILED, WORDY, LONG = Kind(1, 20), Kind(13, 20), Kind(1, 400), Kind(13, 400)
# The share that each kind has in the work of a load.
LOADS: dict[str, Mapping[Kind, float]] = {
    "1 tile, 20 tokens": {SHORT: 1.0},
    "13 tiles, 20 tokens": {TILED: 1.0},
    "1 tile, 400 tokens": {WORDY: 1.0},
    "half 1 tile and 20 tokens, half 13 tiles and 400 tokens": {SHORT: 0.5, LONG: 0.5},
}
# Seconds, and the work that arrives a second: as much as so many replicas can do.
PHASES = ((120.0, 0.4), (300.0, 1.5), (180.0, 0.4))
RISE = PHASES[0][0]


@dataclass
class Caption:
    """A request: its size, when it came, and the work that is left."""

    kind: Kind
    arrived: float
    left: float


@dataclass
class SimulatedReplica:
    """One replica, which works on `SLOTS` requests at a time."""

    running: list[Caption] = field(default_factory=list)
    queue: deque[Caption] = field(default_factory=deque)

    @property
    def requests(self) -> int:
        """Requests in progress."""
        return len(self.running) + len(self.queue)

    def advance(self) -> tuple[list[Caption], float]:
        """Work for a step; returns the requests that are done, and the work."""
        while self.queue and len(self.running) < SLOTS:
            self.running.append(self.queue.popleft())
        wanted = sum(one.kind.work / one.kind.seconds for one in self.running)
        share, done = STEP / max(1.0, wanted), 0.0
        for one in self.running:
            part = min(one.left, one.kind.work / one.kind.seconds * share)
            one.left -= part
            done += part
        ended = [one for one in self.running if one.left <= 1e-9]
        self.running = [one for one in self.running if one.left > 1e-9]
        return ended, done


@dataclass(frozen=True, slots=True)
class Report:
    """What all replicas report together: requests, work done a second, seconds of work that wait."""

    requests: float
    rate: float
    queued: float


# The replicas that a signal calls for, by the reports of the look-back period.
Signal = Callable[[Sequence[Report]], float]


def request_count(target: float) -> Signal:
    """Serve's own policy: the mean of the requests in progress, by a target for each replica."""
    return lambda reports: sum(one.requests for one in reports) / len(reports) / target


def work(utilization: float = 0.7, drain_seconds: float = 5.0) -> Signal:
    """The policy of this service: the last report."""
    return lambda reports: replicas_for(
        [reports[-1].rate], [reports[-1].queued], utilization=utilization, drain_seconds=drain_seconds
    )


SIGNALS = {
    "4 requests": request_count(4),
    "16 requests": request_count(16),
    "64 requests": request_count(64),
    "work": work(),
}


class Autoscaler:
    """A signal with Serve's delays."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.target = 1
        self.reports: deque[Report] = deque(maxlen=int(LOOK_BACK_SECONDS / REPORT_SECONDS))
        self._direction, self._since = 0, 0.0

    def decide(self, now: float) -> int:
        """The number of replicas from now on."""
        if not self.reports:
            return self.target
        wanted = min(MOST_REPLICAS, max(1, ceil(self.signal(list(self.reports)))))
        direction = (wanted > self.target) - (wanted < self.target)
        if direction != self._direction:
            self._direction, self._since = direction, now
        if direction and now - self._since >= (UPSCALE_DELAY if direction > 0 else DOWNSCALE_DELAY):
            self.target, self._since = wanted, now
        return self.target


@dataclass(frozen=True, slots=True)
class Result:
    """What a signal gave: seconds from the rise to its decision, late requests, replica-seconds."""

    reaction: float | None
    late: float
    replica_seconds: float
    unused: float

    @property
    def cells(self) -> str:
        """The figures as cells of a table."""
        reaction = "never" if self.reaction is None else f"{self.reaction:.0f}"
        return f"{reaction} | {self.late:.1%} | {self.replica_seconds:.0f} | {self.unused:.0f}"


class Simulation:
    """A deployment under one load and one signal."""

    def __init__(self, load: Mapping[Kind, float], signal: Signal, *, seed: int = 1) -> None:
        self.load = load
        self.rng = Random(seed)  # noqa: S311 - no secret
        self.autoscaler = Autoscaler(signal)
        self.replicas = [SimulatedReplica()]
        self.stopping: list[SimulatedReplica] = []
        self.starting: list[float] = []
        self.delays: list[float] = []
        self.used = self.done = 0.0

    def run(self) -> Result:
        """All phases of the load."""
        reaction: float | None = None
        at_report, number = 0.0, 0
        for seconds, arriving in PHASES:
            for _ in range(round(seconds / STEP)):
                number += 1
                now = number * STEP
                self._arrive(now, arriving)
                self._advance(now)
                if number % round(REPORT_SECONDS / STEP) == 0:
                    self.autoscaler.reports.append(self._report((self.done - at_report) / REPORT_SECONDS))
                    at_report = self.done
                target = self.autoscaler.decide(now)
                if reaction is None and now > RISE and target > 1:
                    reaction = now - RISE
                self._scale(target, now)
        late = sum(delay > LATE_SECONDS for delay in self.delays) / len(self.delays)
        return Result(reaction, late, self.used, self.used - self.done)

    def _arrive(self, now: float, arriving: float) -> None:
        for kind, share in self.load.items():
            passed = self.rng.expovariate(1.0)
            while passed < arriving * share / kind.work * STEP:
                least = min(self.replicas, key=lambda one: one.requests)
                least.queue.append(Caption(kind, now, kind.work))
                passed += self.rng.expovariate(1.0)

    def _advance(self, now: float) -> None:
        for replica in (*self.replicas, *self.stopping):
            ended, done = replica.advance()
            self.done += done
            self.delays += [now - one.arrived - one.kind.seconds for one in ended]
        self.stopping = [one for one in self.stopping if one.requests]
        self.used += STEP * (len(self.replicas) + len(self.starting) + len(self.stopping))

    def _report(self, rate: float) -> Report:
        queued = sum(one.kind.work for replica in self.replicas for one in replica.queue)
        return Report(sum(one.requests for one in self.replicas), rate, queued)

    def _scale(self, target: int, now: float) -> None:
        self.replicas += [SimulatedReplica() for ready in self.starting if ready <= now]
        self.starting = [ready for ready in self.starting if ready > now]
        while (count := len(self.replicas) + len(self.starting)) != target:
            if count < target:
                self.starting.append(now + START_SECONDS)
            elif self.starting:
                self.starting.pop()
            else:
                self.stopping.append(self.replicas.pop())


def table(loads: Sequence[str] = tuple(LOADS)) -> str:
    """Every signal under every load, as a table of Markdown."""
    rows = [
        "| load | signal | reacts after, s | late | replica-seconds | of them unused |",
        "| --- " * 6 + "|",
    ]
    for load in loads:
        for name, signal in SIGNALS.items():
            rows.append(f"| {load} | {name} | {Simulation(LOADS[load], signal).run().cells} |")
    return "\n".join(rows)
