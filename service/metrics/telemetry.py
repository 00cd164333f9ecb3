"""All that hears of a request when it has ended."""

from dataclasses import dataclass
from typing import Self

from service.metrics.record import RequestRecord
from service.metrics.registry import Metrics
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The metrics of a replica."""

    metrics: Metrics

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As configured."""
        return cls(Metrics(settings.public_name, gpus=settings.gpus_per_replica))

    def record(self, record: RequestRecord) -> None:
        """Take note of a request that has ended."""
        self.metrics.record(record)
