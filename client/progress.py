"""Says on standard error how far a run is: a bar on a terminal, elsewhere a line now and then."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from client.images import Image

WINDOW_SECONDS = 30.0
LINE_SECONDS = 10.0


class Pace:
    """Images a second over the last half minute, by a clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.count = 0

    def add(self) -> None:
        """Count an image."""
        self.count += 1
        now = self._clock()
        if now - self._samples[-1][0] >= 0.5:
            self._samples.append((now, self.count))
        while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Images a second; 0 before the first."""
        begun, count = self._samples[0]
        seconds = self._clock() - begun
        return (self.count - count) / seconds if seconds > 0 else 0.0


class Totals:
    """What a run has done. `found` counts all images, and is None while they are still being counted."""

    def __init__(self) -> None:
        self.captioned = self.failed = self.skipped = 0
        self.found: int | None = None
        self.pace = Pace()

    @property
    def done(self) -> int:
        """Images that have a record."""
        return self.captioned + self.failed + self.skipped

    def sentence(self) -> str:
        """How far the run is, its rate and the remaining time."""
        parts = [f"{self.done:,} of {'?' if self.found is None else f'{self.found:,}'} images"]
        if self.skipped:
            parts.append(f"{self.skipped:,} had a caption")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        rate = self.pace.rate
        parts.append(f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s")
        if self.found is not None and rate > 0:
            parts.append(f"{remaining((self.found - self.done) / rate)} left")
        return ", ".join(parts)


class Reporter:
    """Shows totals while it is entered; `quiet` shows nothing."""

    def __init__(self, totals: Totals, *, quiet: bool) -> None:
        self._totals = totals
        self._quiet = quiet
        self._bar: Progress | None = None
        self._reported = time.monotonic()

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if console.is_terminal and not self._quiet:
            self._bar = Progress(
                BarColumn(), TextColumn("{task.description}"), console=console, refresh_per_second=4
            )
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self.update()
            self._bar.stop()

    def update(self) -> None:
        """Show the totals, where it is time."""
        totals = self._totals
        if self._bar:
            self._bar.update(
                self._task, total=totals.found, completed=totals.done, description=totals.sentence()
            )
        elif not self._quiet and time.monotonic() - self._reported > LINE_SECONDS:
            self._reported = time.monotonic()
            say(totals.sentence())


class Counter:
    """Counts the images of a run in a thread of its own, next to the run, without keeping them."""

    def __init__(self, images: Callable[[], Iterator[Image]], totals: Totals) -> None:
        self._images, self._totals = images, totals
        self._stop = threading.Event()
        threading.Thread(target=self._count, name="count", daemon=True).start()

    def stop(self) -> None:
        """Stop counting."""
        self._stop.set()

    def _count(self) -> None:
        count = 0
        try:
            for _ in self._images():
                count += 1
                if self._stop.is_set():
                    return
        except Exception:  # noqa: BLE001 - the run meets the same error and reports it
            return
        self._totals.found = count


def remaining(seconds: float) -> str:
    """A duration as 45 s, 12 min or 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def say(sentence: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"capstan: {sentence}\n")
