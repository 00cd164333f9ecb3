"""Requests a second, model by model, from what the HAProxies of the pods have counted. Pure.

HAProxy's own counters are live. Those that Ray exports beside them (port 8080) move once in ten seconds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

COUNTED = re.compile(r'^haproxy_backend_http_requests_total\{proxy="([^"]+)"\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Count:
    """What one pod had counted at a moment (seconds of a steady clock), by backend."""

    at: float
    requests: Mapping[str, int]


Reading = Mapping[str, Count]
"""One look at the pods that answered, by name."""


def counts(text: str) -> dict[str, int]:
    """The requests that each backend got since HAProxy started, from its Prometheus exporter's text."""
    return {backend: int(number) for backend, number in COUNTED.findall(text)}


def backend_of(model: str) -> str:
    """Serve's name for a model's backend (ray/serve/_private/haproxy.py get_safe_name)."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"http-{model}".replace("#", "-").replace("/", "."))


def rates(readings: Sequence[Reading], models: Iterable[str]) -> dict[str, float | None]:
    """Requests a second of each model over the readings, oldest first; None where nobody counted twice."""
    return {model: _rate(readings, backend_of(model)) for model in models}


def _rate(readings: Sequence[Reading], backend: str) -> float | None:
    pods = {name for reading in readings for name in reading}
    found = [
        rate
        for pod in pods
        if (rate := _slope([r[pod] for r in readings if pod in r and backend in r[pod].requests], backend))
        is not None
    ]
    return round(sum(found), 2) if found else None


def _slope(seen: Sequence[Count], backend: str) -> float | None:
    if len(seen) < 2 or seen[-1].at <= seen[0].at:
        return None
    came = sum(_increase(a.requests[backend], b.requests[backend]) for a, b in pairwise(seen))
    return came / (seen[-1].at - seen[0].at)


def _increase(before: int, after: int) -> int:
    """What came between two readings; a counter that went backwards began at zero again."""
    return after - before if after >= before else after
