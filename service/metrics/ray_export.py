"""The metrics of a replica in Ray's own export, which every node of the cluster offers to Prometheus.

A request to a replica's HTTP port through Serve's proxy reaches any replica, so /metrics cannot be scraped
there; Ray's agent on each node collects from all replicas of the node instead.

Recording each request with Ray would take 14 µs a metric, and Ray's histograms keep no exact sum. So all
series are copied from the registry at an interval, and all as gauges, as Ray's counters have no series before
their first increment, which `rate` then misses, and keep those of replicas that have ended.
"""

import logging
import threading
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from ray.util.metrics import Gauge

logger = logging.getLogger("capstan.metrics")

# Ray reports to its agent every 10 s (`metrics_report_interval_ms`).
SECONDS = 5.0


class RayExport:
    """Copies a registry to Ray from a thread of its own. `labels` tell this replica from others."""

    def __init__(
        self, registry: CollectorRegistry, labels: Mapping[str, str], *, seconds: float = SECONDS
    ) -> None:
        self._registry = registry
        self._labels = dict(labels)
        self._seconds = seconds
        self._gauges: dict[str, Gauge] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Start copying."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after a last copy, so that the requests that were finished last are counted."""
        self._stopping.set()
        self._thread.join(self._seconds)

    def copy(self) -> None:
        """Copy every series once."""
        for family in self._registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    labels = self._labels | sample.labels
                    self._gauge(sample.name, family.documentation, labels).set(sample.value, labels)

    def _gauge(self, name: str, description: str, labels: Mapping[str, str]) -> Gauge:
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, description, tag_keys=tuple(labels))
        return self._gauges[name]

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._copy_or_log()
        self._copy_or_log()

    def _copy_or_log(self) -> None:
        try:
            self.copy()
        except Exception:
            logger.exception("metrics could not be copied to Ray; the next attempt is in %g s", self._seconds)
