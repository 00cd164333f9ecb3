"""When a sequence reached each stage."""

from dataclasses import dataclass, field
from time import monotonic

from service.engine.request import Timings


@dataclass(slots=True)
class Timeline:
    """Moments of ``time.monotonic()``; 0 for a stage that has not been reached."""

    submitted: float = field(default_factory=monotonic)
    preparing: float = 0.0
    prepared: float = 0.0
    running: float = 0.0
    first_token: float = 0.0
    compute: float = 0.0

    def timings(self, *, tokens: int, sharers: int) -> Timings:
        """The stages of a sequence that ends now; `sharers` requests divide its computing time."""
        return Timings(
            queue=self.preparing - self.submitted,
            preparation=self.prepared - self.preparing,
            ready=self.running - self.prepared,
            prefill=self.first_token - self.running,
            decode=monotonic() - self.first_token,
            compute=self.compute / sharers,
            tokens=tokens,
        )
