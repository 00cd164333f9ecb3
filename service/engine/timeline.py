"""When a request reached each stage, here and on its rank."""

from dataclasses import dataclass, field
from time import monotonic

from service.engine.request import Timings


@dataclass(slots=True)
class RankTimeline:
    """The stages on a rank: moments of ``time.monotonic()``, which all processes of a machine share.

    0 for a stage that has not been reached. `compute` is the sequence's part of the seconds of its steps.
    """

    running: float = 0.0
    first_token: float = 0.0
    compute: float = 0.0


@dataclass(slots=True)
class Timeline:
    """The stages of a request: moments of ``time.monotonic()``; 0 for a stage that has not been reached."""

    submitted: float = field(default_factory=monotonic)
    preparing: float = 0.0
    prepared: float = 0.0
    rank: RankTimeline = field(default_factory=RankTimeline)

    def timings(self, *, tokens: int, sharers: int) -> Timings:
        """The stages of a request that ends now; `sharers` requests divide its computing time."""
        rank = self.rank
        return Timings(
            queue=self.preparing - self.submitted,
            preparation=self.prepared - self.preparing,
            ready=max(0.0, rank.running - self.prepared),
            prefill=rank.first_token - rank.running,
            decode=monotonic() - rank.first_token,
            compute=rank.compute / sharers,
            tokens=tokens,
        )
