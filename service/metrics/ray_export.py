"""The metrics of a replica in Ray's own export, which every node of the cluster offers to Prometheus.

A request to a replica's HTTP port through Serve's proxy reaches any replica, so /metrics cannot be scraped
there; Ray's agent on each node collects from all replicas of the node instead.

Recording each request with Ray would take 14 µs a metric, and Ray's histograms keep no exact sum. So all
series are copied from the registry at an interval: counters as what has been added to them, everything else,
the buckets of histograms among it, as gauges. Gauges of a replica that has ended disappear after two reports.
"""

import logging
import threading
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from ray.util import metrics

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
        self._counters: dict[str, metrics.Counter] = {}
        self._gauges: dict[str, metrics.Gauge] = {}
        self._exported: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
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
                    if family.type == "counter":
                        self._add(sample.name, family.documentation, labels, sample.value)
                    else:
                        self._set(sample.name, family.documentation, labels, sample.value)

    def _add(self, name: str, description: str, labels: dict[str, str], value: float) -> None:
        series = (name, frozenset(labels.items()))
        added = value - self._exported.get(series, 0.0)
        if added > 0:
            if name not in self._counters:
                self._counters[name] = metrics.Counter(name, description, tag_keys=tuple(labels))
            self._counters[name].inc(added, labels)
            self._exported[series] = value

    def _set(self, name: str, description: str, labels: dict[str, str], value: float) -> None:
        if name not in self._gauges:
            self._gauges[name] = metrics.Gauge(name, description, tag_keys=tuple(labels))
        self._gauges[name].set(value, labels)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._copy_or_log()
        self._copy_or_log()

    def _copy_or_log(self) -> None:
        try:
            self.copy()
        except Exception:
            logger.exception("metrics could not be copied to Ray; the next attempt is in %g s", self._seconds)
