"""Progress of a long transfer, in the log."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("capstan.checkpoint")

LINE_SECONDS = 5.0
# Small steps are logged only where they take time, so that a fast load is one line and not ten.
STEP_SECONDS = 1.0
STEP = 0.1

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Transfer:
    """Counts bytes from several threads and logs a line per 10 % or 5 s, whichever is first."""

    def __init__(self, verb: str, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._verb = verb
        self._clock = clock
        self._lock = threading.Lock()
        self._start = self._logged_at = clock()
        self._logged = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def add(self, count: int) -> None:
        """Note that `count` more bytes are there."""
        with self._lock:
            self.done += count
            if self._due():
                self._logged, self._logged_at = self.done, self._clock()
                logger.info("%s %s", self._verb, str(self))  # as it is now, not when the line is written

    def _due(self) -> bool:
        silent = self._clock() - self._logged_at
        step = self.done - self._logged >= STEP * self.total
        return silent >= LINE_SECONDS or (step and silent >= STEP_SECONDS)

    def __str__(self) -> str:
        percent = 100 * self.done // self.total if self.total else 100
        return f"{size(self.done)} of {size(self.total)} ({percent} %) in {self.seconds:.0f} s"


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the time within to the seconds of a phase of the start."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[phase] = round(seconds.get(phase, 0.0) + time.monotonic() - start, 3)


def size(count: float) -> str:
    """Bytes in words, such as ``15.1 GiB``."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
