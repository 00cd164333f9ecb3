"""How long the phases of a start take."""

from time import monotonic


class Phases:
    """Seconds by the name of the phase, each counted from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = monotonic()

    def end(self, name: str) -> None:
        """A phase is over."""
        now = monotonic()
        self.seconds[name] = now - self._since
        self._since = now
