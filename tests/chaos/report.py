"""What a fault did to the requests of a steady load."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.load import Asked, Load

FIGURES = Path("build") / "chaos.jsonl"
# A request that is in flight when its connection breaks fails at once, one that hangs at its timeout.
SLACK_S = 0.5


@dataclass
class Report:
    """A fault, the load that it met, and when something was done: from and until, in seconds since the epoch.

    `back_s` are the seconds until what was lost was back.
    """

    fault: str
    load: Load
    done: list[tuple[float, float]] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)

    @contextmanager
    def doing(self) -> Iterator[None]:
        """Note when the `with` block does something."""
        began = time.time()
        try:
            yield
        finally:
            self.done.append((began, time.time()))

    def now(self) -> None:
        """Note that something is done now."""
        self.done.append((time.time(), time.time()))

    def back(self) -> None:
        """Note that what was lost is back."""
        self.back_s.append(time.time() - self.done[-1][1])

    @property
    def failed(self) -> list[Asked]:
        """The requests that failed."""
        return [each for each in self.load.asked if each.failure]

    @property
    def failed_later(self) -> list[str]:
        """The requests that failed although they were not in flight when something was done."""
        return [
            str(each)
            for each in self.failed
            if not any(each.began - SLACK_S <= end and each.ended >= start for start, end in self.done)
        ]

    def write(self) -> None:
        """Print the figures, and add them as a line to build/chaos.jsonl."""
        line = {
            "fault": self.fault,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "requests": len(self.load.asked),
            "failed": len(self.failed),
            "in flight": [len(self.load.in_flight(end)) for _, end in self.done],
            "failed later": len(self.failed_later),
            "back after s": [round(seconds) for seconds in self.back_s],
            "failures": [str(each) for each in self.failed],
        }
        FIGURES.parent.mkdir(exist_ok=True)
        with FIGURES.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line, indent=1))  # noqa: T201 - shown where a test fails, and with -s
