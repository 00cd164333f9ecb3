"""The metrics of one replica in Prometheus' form."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import service
from service.errors import ErrorCode, Refusal
from service.metrics import definitions as names
from service.metrics.definitions import Definition
from service.metrics.record import UNCOUNTED, RequestRecord
from service.protocol.engine import ServingEngine
from service.protocol.request import Completion
from service.protocol.stats import EngineStats

# Refusals whose code says which limit it was.
UNSPECIFIC = (ErrorCode.INVALID_API_KEY, ErrorCode.MODEL_FORBIDDEN, ErrorCode.NOT_READY)


class Metrics:
    """Counts requests as they end, and asks the engine when it is scraped."""

    def __init__(self, model: str, *, gpus: int = 1) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self._gpus = gpus
        self._counts = {
            one: _made(one, self.registry)
            for one in names.DEFINITIONS
            if one not in ENGINE_METRICS and one not in FIXED
        }

        # By name and labels: prometheus_client finds a child in several times the time.
        self._children: dict[tuple[str, ...], Any] = {}

        # So that `rate` sees the first refusal of each kind.
        for reason in (*Refusal, *UNSPECIFIC):
            self._add(names.REFUSALS, 0, reason=reason.value)

    def watch(self, engine: ServingEngine, *, load_seconds: Mapping[str, float]) -> None:
        """Export an engine that has started, and how long its start took."""
        self.registry.register(EngineCollector(self._model, engine, load_seconds))

    def record(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        if record.route in UNCOUNTED:
            return
        self._add(names.REQUESTS, 1, route=record.route, code=record.outcome)
        self._observe(names.REQUEST_SECONDS, record.seconds, route=record.route)
        if record.refusal is not None:
            self._add(names.REFUSALS, 1, reason=record.refusal.value)
        for fetch in record.fetches:
            self._observe(names.FETCH_SECONDS, fetch.seconds)
        if record.completions or record.broken_off:
            usage = record.usage
            self._add(names.IMAGES, record.images, key=record.key)
            self._add(names.IMAGE_TILES, usage.image_tiles, key=record.key)
            self._add(names.PROMPT_TOKENS, usage.prompt_tokens, key=record.key)
            self._add(names.COMPLETION_TOKENS, usage.completion_tokens, key=record.key)
        for completion in record.completions:
            self._record_completion(completion, record.key)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _record_completion(self, completion: Completion, key: str) -> None:
        timings = completion.timings
        self._add(names.GPU_SECONDS, timings.compute * self._gpus, key=key)
        self._observe(names.QUEUE_SECONDS, timings.queue + timings.ready)
        self._observe(names.PREPARATION_SECONDS, timings.preparation)
        self._observe(names.PREFILL_SECONDS, timings.prefill)
        self._observe(names.FIRST_TOKEN_SECONDS, timings.first_token)
        self._observe(names.DECODE_SECONDS, timings.decode)
        if timings.tokens > 1:
            self._observe(names.TOKEN_INTERVAL_SECONDS, timings.decode / (timings.tokens - 1))

    def _add(self, definition: Definition, amount: float, **labels: str) -> None:
        self._child(definition, labels).inc(amount)

    def _observe(self, definition: Definition, seconds: float, **labels: str) -> None:
        self._child(definition, labels).observe(seconds)

    def _child(self, definition: Definition, labels: Mapping[str, str]) -> Any:  # noqa: ANN401 - one of three classes
        key = (definition.name, *labels.values())
        found = self._children.get(key)
        if found is None:
            found = self._counts[definition].labels(model=self._model, **labels)
            self._children[key] = found
        return found


def _made(definition: Definition, registry: CollectorRegistry) -> Any:  # noqa: ANN401 - one of three classes
    head = (definition.name, definition.help, definition.label_names)
    if definition.kind == "histogram":
        return Histogram(*head, buckets=definition.buckets, registry=registry)
    return (Counter if definition.kind == "counter" else Gauge)(*head, registry=registry)


# Where each metric of the engine comes from; by the value of its label, if it has one.
ENGINE_METRICS: Mapping[Definition, Mapping[str, Callable[[EngineStats], float]]] = {
    names.RUNNING: {"": lambda stats: stats.running},
    names.WAITING: {"": lambda stats: stats.waiting},
    names.SLOTS: {"": lambda stats: stats.running + stats.slots_free},
    names.QUEUE_LIMIT: {"": lambda stats: stats.queue_limit},
    names.STEPS: {"": lambda stats: stats.steps},
    names.STEP_SECONDS: {"": lambda stats: stats.step_seconds},
    names.STEP_REQUESTS: {"": lambda stats: stats.step_sequences},
    names.PREFILL_TOKENS: {"": lambda stats: stats.prefill_tokens},
    names.DECODE_TOKENS: {"": lambda stats: stats.decode_tokens},
    names.DRAFT_TOKENS: {
        "accepted": lambda stats: stats.accepted_tokens,
        "rejected": lambda stats: stats.drafted_tokens - stats.accepted_tokens,
    },
    names.PREFIX_TOKENS: {"": lambda stats: stats.prefix_tokens},
    names.SHARED: {"": lambda stats: stats.shared},
    names.CACHE_PAGES: {"used": lambda stats: stats.pages_used, "free": lambda stats: stats.pages_free},
    names.PREEMPTIONS: {"": lambda stats: stats.preempted},
    names.FEATURE_LOOKUPS: {
        "hit": lambda stats: stats.feature_hits,
        "miss": lambda stats: stats.feature_misses,
    },
    names.FEATURE_BYTES: {"": lambda stats: stats.feature_bytes},
    names.GPU_MEMORY: {
        "used": lambda stats: stats.memory_used,
        "free": lambda stats: stats.memory_total - stats.memory_used,
    },
}
# Known once the engine has started.
FIXED = (names.LOAD_SECONDS, names.INFO)


class EngineCollector(Collector):
    """Asks an engine for its statistics at each scrape."""

    def __init__(self, model: str, engine: ServingEngine, load_seconds: Mapping[str, float]) -> None:
        self._model = model
        self._engine = engine
        self._load_seconds = dict(load_seconds)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the engine is first asked when it is scraped."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The engine's metrics."""
        stats = self._engine.stats()
        for definition, values in ENGINE_METRICS.items():
            yield self._family(definition, {(label,): value(stats) for label, value in values.items()})
        engine = self._engine.describe()
        about = (service.__version__, engine.runner, engine.device or "", engine.dtype or "")
        yield self._family(names.LOAD_SECONDS, {(phase,): took for phase, took in self._load_seconds.items()})
        yield self._family(names.INFO, {about: 1})

    def _family(self, definition: Definition, values: Mapping[tuple[str, ...], float]) -> Metric:
        made = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
        family = made(definition.name, definition.help, labels=definition.label_names)
        for labels, value in values.items():
            family.add_metric([self._model, *(labels if definition.labels else ())], value)
        return family
