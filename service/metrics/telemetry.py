"""All that hears of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from service.metrics.ledger import Ledger
from service.metrics.record import UNCOUNTED, RequestRecord
from service.metrics.registry import Metrics
from service.metrics.tracing import Trace, Tracer
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The metrics of a replica, and its usage ledger and its tracer if it has them."""

    metrics: Metrics
    ledger: Ledger | None = None
    tracer: Tracer | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As configured. Raises StartupError where the ledger or the exporter does not work."""
        return cls(
            Metrics(settings.public_name, gpus=settings.gpus_per_replica),
            Ledger.from_settings(settings),
            Tracer.to(settings.otlp_endpoint) if settings.otlp_endpoint else None,
        )

    def begin(self, method: str, route: str, headers: Mapping[str, str]) -> Trace | None:
        """Begin the trace of a request; None while tracing is off, and for probes."""
        if self.tracer is None or route in UNCOUNTED:
            return None
        return self.tracer.begin(method, route, headers)

    def record(self, record: RequestRecord, trace: Trace | None) -> None:
        """Take note of a request that has ended."""
        self.metrics.record(record)
        if self.ledger is not None:
            self.ledger.record(record)
        if self.tracer is not None and trace is not None:
            self.tracer.end(trace, record)

    def close(self) -> None:
        """Write and send what is left; may take seconds."""
        if self.ledger is not None:
            self.ledger.close()
        if self.tracer is not None:
            self.tracer.close()
