"""Latencies and rates of one measurement, as a row of a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

COLUMNS = (
    "load",
    "captions/s",
    "tokens/s",
    "first ms",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "right",
    "errors",
)
HEADER = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load gave. Latencies in milliseconds, `right` the share of true captions.

    `first` is the median time to the first piece of text, None where answers came whole.
    """

    load: str
    rate: float
    tokens: float
    first: float | None
    p50: float
    p95: float
    p99: float
    right: float
    errors: int

    @property
    def row(self) -> str:
        """A row under `HEADER`."""
        return (
            f"| {self.load} | {self.rate:.0f} | {self.tokens:.0f} "
            f"| {'' if self.first is None else f'{self.first:.1f}'} "
            f"| {self.p50:.1f} | {self.p95:.1f} | {self.p99:.1f} | {self.right:.1%} | {self.errors} |"
        )

    @property
    def json(self) -> dict[str, object]:
        """The same as data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gave, and how long it took in seconds, to its first piece of text and to its end."""

    caption: str
    tokens: int
    seconds: float
    first: float | None = None


def figures(load: str, answers: Sequence[Answer], wall: float, *, right: int, errors: int) -> Figures:
    """Sum up the answers that came within `wall` seconds."""
    firsts = [answer.first for answer in answers if answer.first is not None]
    seconds = [answer.seconds for answer in answers]
    return Figures(
        load=load,
        rate=len(answers) / wall,
        tokens=sum(answer.tokens for answer in answers) / wall,
        first=quantile(firsts, 0.5) if firsts else None,
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        p99=quantile(seconds, 0.99),
        right=right / max(1, len(answers)),
        errors=errors,
    )


def quantile(seconds: Sequence[float], share: float) -> float:
    """The time in milliseconds that a share of all kept within."""
    ordered = sorted(seconds) or [float("nan")]
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
