"""Measuring requests a second: the counters of every pod, read at once and again a moment later."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from k8s.doors.cluster import Cluster
from k8s.doors.pods import HAPROXY_PORT, Pods
from k8s.errors import CapstanError
from k8s.state.traffic import Count, Reading, counts, rates

# Nobody waits longer than this for a pod that does not answer.
DEADLINE_S = 2.0
# Two readings lie at least so far apart, and a watch looks back so far.
APART_S = 2.0
WINDOW_S = 10.0
AT_ONCE = 16

Ask = Callable[[str], str]


class Meter:
    """Keeps the readings of the last ten seconds. `ask` gives the text of one pod's exporter."""

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
        """Requests a second of each model; None where no pod could be read twice.

        The first time this waits 2 s between two readings, later calls look back at the former ones.
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

        # Threads that hang are left behind, and end with the process.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(pods)))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self._deadline_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return dict(found.get_nowait() for _ in range(found.qsize()))


def exporter(cluster: Cluster) -> Ask:
    """The text of a pod's HAProxy exporter, through a port-forward. Raises UnreachableError without one."""

    def ask(pod: str) -> str:
        # Port-forwards that begin at the same time need a client each.
        answer = Pods(cluster).request(pod, HAPROXY_PORT, "/metrics?scope=backend", timeout_s=DEADLINE_S)
        return answer.body.decode(errors="replace") if answer.status == HTTPStatus.OK else ""

    return ask
