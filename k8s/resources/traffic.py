"""Requests per second of each model, from the counters of the pods' HAProxies.

HAProxy's own counters are live. The ones that Ray exports (port 8080) change only every ten seconds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

COUNTED = re.compile(r'^haproxy_backend_http_requests_total\{proxy="([^"]+)"\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Count:
    """One pod's request counters by backend, read at a time of a monotonic clock (seconds)."""

    at: float
    requests: Mapping[str, int]


Reading = Mapping[str, Count]
"""The counters of every pod that answered, by pod name."""


def counts(text: str) -> dict[str, int]:
    """Requests to each backend since HAProxy started, from the text of its Prometheus exporter."""
    return {backend: int(number) for backend, number in COUNTED.findall(text)}


def backend_of(model: str) -> str:
    """The name of a model's backend (ray/serve/_private/haproxy.py get_safe_name)."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"http-{model}".replace("#", "-").replace("/", "."))


def rates(readings: Sequence[Reading], models: Iterable[str]) -> dict[str, float | None]:
    """Requests per second of each model over readings, oldest first; None where no pod was read twice."""
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
    count = sum(_increase(a.requests[backend], b.requests[backend]) for a, b in pairwise(seen))
    return count / (seen[-1].at - seen[0].at)


def _increase(before: int, after: int) -> int:
    """Requests between two readings; a counter that went backwards restarted at zero."""
    return after - before if after >= before else after
