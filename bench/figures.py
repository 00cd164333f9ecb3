"""Latencies and rates of one measurement, as a row of a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

COLUMNS = ("load", "captions/s", "p50 ms", "p95 ms", "p99 ms", "right", "errors")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load gave. Latencies in milliseconds, `right` the share of true captions."""

    load: str
    rate: float
    p50: float
    p95: float
    p99: float
    right: float
    errors: int

    @property
    def row(self) -> str:
        """A row under `HEADER`."""
        return (
            f"| {self.load} | {self.rate:.0f} | {self.p50:.1f} | {self.p95:.1f} | {self.p99:.1f} "
            f"| {self.right:.1%} | {self.errors} |"
        )

    @property
    def json(self) -> dict[str, object]:
        """The same as data."""
        return asdict(self)


def figures(load: str, seconds: Sequence[float], wall: float, *, right: int, errors: int) -> Figures:
    """Sum up the `seconds` that each request took and the `wall` seconds of all."""
    ordered = sorted(seconds) or [float("nan")]

    def quantile(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Figures(
        load=load,
        rate=len(seconds) / wall,
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
        right=right / max(1, len(seconds)),
        errors=errors,
    )
