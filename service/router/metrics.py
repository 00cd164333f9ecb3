"""The router's own metrics: what replicas cannot know, as requests that reach none."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.metrics.definitions import REQUEST_BUCKETS, Definition

REQUESTS = Definition(
    "capstan_router_requests_total",
    "counter",
    "Requests to the router that have ended. `model` is empty where none was named, `status` is 0 where "
    "the client left first, `code` is that of an error of the router itself.",
    ("status", "code"),
)
SECONDS = Definition(
    "capstan_router_request_seconds",
    "histogram",
    "Seconds from the first byte of a request to the last of its response, at the router.",
    buckets=REQUEST_BUCKETS,
)
IN_PROGRESS = Definition(
    "capstan_router_requests_in_progress", "gauge", "Requests that the router has passed on to the model."
)
FAILED_CONNECTIONS = Definition(
    "capstan_router_failed_connections_total",
    "counter",
    "Connections to the model that failed; the router tries six times for each request.",
)
DEFINITIONS = (REQUESTS, SECONDS, IN_PROGRESS, FAILED_CONNECTIONS)


class RouterMetrics:
    """Counts the requests of one router."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(*_head(REQUESTS), registry=self.registry)
        self._seconds = Histogram(*_head(SECONDS), buckets=SECONDS.buckets, registry=self.registry)
        self._in_progress = Gauge(*_head(IN_PROGRESS), registry=self.registry)
        self._failed_connections = Counter(*_head(FAILED_CONNECTIONS), registry=self.registry)

    def record(self, model: str, *, status: int, code: str, seconds: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(model, str(status), code).inc()
        self._seconds.labels(model).observe(seconds)

    @contextmanager
    def passed_on(self, model: str) -> Iterator[None]:
        """Count a request as in progress."""
        with self._in_progress.labels(model).track_inprogress():
            yield

    def connection_failed(self, model: str) -> None:
        """Count a connection that failed."""
        self._failed_connections.labels(model).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _head(definition: Definition) -> tuple[str, str, tuple[str, ...]]:
    return definition.name, definition.help, definition.label_names
