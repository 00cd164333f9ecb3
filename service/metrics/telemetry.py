"""All that hears of a request when it has ended."""

from dataclasses import dataclass
from typing import Self

from service.metrics.ledger import Ledger
from service.metrics.record import RequestRecord
from service.metrics.registry import Metrics
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The metrics of a replica, and its usage ledger if it keeps one."""

    metrics: Metrics
    ledger: Ledger | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As configured. Raises StartupError where the ledger cannot be written."""
        metrics = Metrics(settings.public_name, gpus=settings.gpus_per_replica)
        return cls(metrics, Ledger.from_settings(settings))

    def record(self, record: RequestRecord) -> None:
        """Take note of a request that has ended."""
        self.metrics.record(record)
        if self.ledger is not None:
            self.ledger.record(record)
