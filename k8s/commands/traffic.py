"""Requests per second of each model, from the counters of the pods' HAProxies, read twice.

HAProxy's own counters are live. The ones that Ray exports (port 8080) change only every ten seconds.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import HAPROXY_PORT, Pods
from k8s.errors import CapstanError

COUNTED = re.compile(r'^haproxy_backend_http_requests_total\{proxy="([^"]+)"\} (\d+)$', re.MULTILINE)
# How long to wait for pods that do not answer.
DEADLINE_S = 2.0
# The least time between two samples, and how far back a watch looks.
APART_S = 2.0
WINDOW_S = 10.0
AT_ONCE = 16
Ask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Count:
    """One pod's request counters by backend, read at a time of a monotonic clock (seconds)."""

    at: float
    requests: Mapping[str, int]


Sample = Mapping[str, Count]
"""The counters of every pod that answered, by pod name."""


def counts(text: str) -> dict[str, int]:
    """Requests to each backend since HAProxy started, from the text of its Prometheus exporter."""
    return {backend: int(number) for backend, number in COUNTED.findall(text)}


def backend_of(model: str) -> str:
    """The name of a model's backend (ray/serve/_private/haproxy.py get_safe_name)."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"http-{model}".replace("#", "-").replace("/", "."))


def rates(samples: Sequence[Sample], models: Iterable[str]) -> dict[str, float | None]:
    """Requests per second of each model over samples, oldest first; None where no pod was read twice."""
    return {model: _rate(samples, backend_of(model)) for model in models}


class TrafficMeter:
    """Keeps the samples of the last ten seconds. `ask` returns the text of one pod's exporter."""

    def __init__(
        self,
        ask: Ask,
        *,
        deadline_s: float = DEADLINE_S,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask = ask
        self._deadline_s = deadline_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._samples: list[tuple[float, Sample]] = []

    def measure(self, pods: Sequence[str], models: Iterable[str]) -> dict[str, float | None]:
        """Requests per second of each model; None where no pod could be read twice.

        The first call waits 2 s between two samples; later calls use the former samples.
        """
        now = self._read(pods)
        if len(self._samples) == 1 and self._samples[0][1]:
            self._sleep(max(0.0, now + APART_S - self._monotonic()))
            now = self._read(pods)
        self._samples = [r for r in self._samples if now - r[0] <= WINDOW_S]
        return rates([sample for _, sample in self._samples], models)

    def _read(self, pods: Sequence[str]) -> float:
        began = self._monotonic()
        self._samples.append((began, self._look(pods)))
        return began

    def _look(self, pods: Sequence[str]) -> Sample:
        todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        for pod in pods:
            todo.put(pod)
        found: queue.SimpleQueue[tuple[str, Count]] = queue.SimpleQueue()

        def work() -> None:
            while True:
                try:
                    pod = todo.get_nowait()
                    text = self._ask(pod)
                except queue.Empty:
                    return
                except CapstanError:
                    continue
                found.put((pod, Count(self._monotonic(), counts(text))))

        # Threads that hang are abandoned; they are daemons.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(pods)))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self._deadline_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return dict(found.get_nowait() for _ in range(found.qsize()))


def read_exporter(client: KubernetesClient) -> Ask:
    """A function that reads a pod's HAProxy exporter through a port-forward; it raises UnreachableError."""

    def ask(pod: str) -> str:
        # Port-forwards that connect at the same time need a client each.
        answer = Pods(client).request(pod, HAPROXY_PORT, "/metrics?scope=backend", timeout_s=DEADLINE_S)
        return answer.body.decode(errors="replace") if answer.status == HTTPStatus.OK else ""

    return ask


def _rate(samples: Sequence[Sample], backend: str) -> float | None:
    pods = {name for sample in samples for name in sample}
    found = [
        rate
        for pod in pods
        if (rate := _slope([r[pod] for r in samples if pod in r and backend in r[pod].requests], backend))
        is not None
    ]
    return round(sum(found), 2) if found else None


def _slope(seen: Sequence[Count], backend: str) -> float | None:
    if len(seen) < 2 or seen[-1].at <= seen[0].at:
        return None
    count = sum(_increase(a.requests[backend], b.requests[backend]) for a, b in pairwise(seen))
    return count / (seen[-1].at - seen[0].at)


def _increase(before: int, after: int) -> int:
    """Requests between two samples; a counter that went backwards restarted at zero."""
    return after - before if after >= before else after
