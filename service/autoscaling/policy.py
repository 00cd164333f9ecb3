"""How many replicas the work of a deployment needs.

Serve's controller calls the policy and then applies the delays, factors and bounds of the autoscaling config.
Source: ray.serve.autoscaling_policy and AutoscalingContext of Ray 2.60.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

# What replicas report: seconds of work that they do in a second (1: a full one), and that wait.
RATE, QUEUED = "work_rate", "work_queued_seconds"


def replicas_for(
    rates: Iterable[float], queued: Iterable[float], *, utilization: float, drain_seconds: float
) -> float:
    """The replicas that do this work at a utilization, and also what waits within some seconds."""
    return sum(rates) / utilization + sum(queued) / drain_seconds


class WorkPolicy:
    """Scales on the work that replicas report.

    The last report of each counts, not the mean of the look-back period, which is late by half of it; Serve's
    delays keep a single report from having an effect. As long as no replica reports work, the number of
    requests counts, as in Serve's own policy.
    """

    def __init__(self, utilization: float = 0.7, drain_seconds: float = 5.0) -> None:
        self.utilization = utilization
        self.drain_seconds = drain_seconds

    def __call__(self, context: "AutoscalingContext") -> tuple[float, dict[str, Any]]:
        """The number of replicas before Serve's delays and bounds, and no state."""
        series = context.raw_metrics or {}
        rates = _last_values(series.get(RATE, {}))
        if not rates:
            config: Any = context.config
            return context.total_num_requests / config.get_target_ongoing_requests(), {}
        queued = _last_values(series.get(QUEUED, {}))
        found = replicas_for(rates, queued, utilization=self.utilization, drain_seconds=self.drain_seconds)
        return found, {}


def _last_values(series: Mapping[Any, Sequence[Any]]) -> list[float]:
    return [values[-1].value for values in series.values() if values]
