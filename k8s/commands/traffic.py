"""Measuring requests per second: the counters of every pod, read twice."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import HAPROXY_PORT, Pods
from k8s.errors import CapstanError
from k8s.resources.traffic import Count, Reading, counts, rates

# How long to wait for pods that do not answer.
DEADLINE_S = 2.0
# The least time between two readings, and how far back a watch looks.
APART_S = 2.0
WINDOW_S = 10.0
AT_ONCE = 16

Ask = Callable[[str], str]


class TrafficMeter:
    """Keeps the readings of the last ten seconds. `ask` returns the text of one pod's exporter."""

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
        self._readings: list[tuple[float, Reading]] = []

    def measure(self, pods: Sequence[str], models: Iterable[str]) -> dict[str, float | None]:
        """Requests per second of each model; None where no pod could be read twice.

        The first call waits 2 s between two readings; later calls use the former readings.
        """
        now = self._read(pods)
        if len(self._readings) == 1 and self._readings[0][1]:
            self._sleep(max(0.0, now + APART_S - self._monotonic()))
            now = self._read(pods)
        self._readings = [r for r in self._readings if now - r[0] <= WINDOW_S]
        return rates([reading for _, reading in self._readings], models)

    def _read(self, pods: Sequence[str]) -> float:
        began = self._monotonic()
        self._readings.append((began, self._look(pods)))
        return began

    def _look(self, pods: Sequence[str]) -> Reading:
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
