"""Captions of two clusters compared: equal, changed or failed, how fast, and within which limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from k8s.resources.quantity import plural

SHOWN = 10
QUOTED = 80


@dataclass(frozen=True, slots=True)
class Limits:
    """What a new cluster may do differently: changed captions (percent), failed ones, and the slowdown."""

    changed_percent: int = 10
    failed: int = 0
    slowdown: float = 1.5


@dataclass(frozen=True, slots=True)
class CaptionAnswer:
    """One cluster's answer to one image: the caption, or else the error; and the seconds it took."""

    caption: str
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CaptionPair:
    """The answers of the old and the new cluster to one image."""

    image: str
    old: CaptionAnswer
    new: CaptionAnswer


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The pairs of one model. An image that the old cluster did not caption is left out of every count."""

    model: str
    pairs: tuple[CaptionPair, ...]

    @property
    def compared(self) -> list[CaptionPair]:
        """The pairs that count."""
        return [p for p in self.pairs if not p.old.error]

    @property
    def failed(self) -> list[CaptionPair]:
        """The pairs without an answer of the new cluster."""
        return [p for p in self.compared if p.new.error]

    @property
    def changed(self) -> list[CaptionPair]:
        """The pairs with two different captions."""
        return [p for p in self.compared if not p.new.error and p.old.caption != p.new.caption]

    @property
    def latency_s(self) -> tuple[float, float]:
        """The median seconds of both clusters, over the images that both captioned; zeros without one."""
        both = [p for p in self.compared if not p.new.error]
        if not both:
            return 0.0, 0.0
        return median(p.old.seconds for p in both), median(p.new.seconds for p in both)

    @property
    def slowdown(self) -> float:
        """The new median divided by the old one; 1 where nothing can be said."""
        old, new = self.latency_s
        return new / old if old else 1.0

    def lines(self) -> list[str]:
        """The comparison as lines of text."""
        total, failed, changed = len(self.compared), len(self.failed), len(self.changed)
        old, new = self.latency_s
        counts = (
            f"{self.model}: {plural(total, 'image')}: {total - failed - changed} equal, {changed} changed, "
            f"{failed} failed; median latency {old:.2f} s -> {new:.2f} s ({self.slowdown:.2f} times)"
        )
        found = [counts]
        if left_out := len(self.pairs) - total:
            found.append(f"  {plural(left_out, 'image')} left out: the old cluster did not caption them")
        found += [f"  failed {p.image}: {p.new.error}" for p in self.failed[:SHOWN]]
        found += [
            f"  changed {p.image}: {_quoted(p.old.caption)} -> {_quoted(p.new.caption)}"
            for p in self.changed[:SHOWN]
        ]
        if more := sum(max(count - SHOWN, 0) for count in (failed, changed)):
            found.append(f"  and {more} more")
        return found

    def value(self) -> dict[str, Any]:
        """The comparison as JSON."""
        old, new = self.latency_s
        return {
            "model": self.model,
            "images": len(self.compared),
            "changed": len(self.changed),
            "failed": len(self.failed),
            "oldSeconds": round(old, 3),
            "newSeconds": round(new, 3),
        }


def beyond(found: Sequence[ModelComparison], limits: Limits) -> list[str]:
    """One sentence for each limit that is exceeded."""
    sentences = []
    for model in found:
        total, changed, failed = len(model.compared), len(model.changed), len(model.failed)
        if changed * 100 > limits.changed_percent * total:
            sentences.append(
                f"{model.model}: {changed} of {total} captions changed; the limit is "
                f"{limits.changed_percent} percent (--max-changed)"
            )
        if failed > limits.failed:
            sentences.append(
                f"{model.model}: {failed} of {total} captions failed; the limit is {limits.failed} "
                "(--max-failed)"
            )
        if model.slowdown > limits.slowdown:
            sentences.append(
                f"{model.model}: captions take {model.slowdown:.2f} times as long; the limit is "
                f"{limits.slowdown:g} (--max-slowdown)"
            )
    return sentences


def _quoted(caption: str) -> str:
    text = " ".join(caption.split())
    return f'"{text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."}"'
