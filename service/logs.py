"""The log of a replica: one line an event, on standard error, where Ray collects it."""

import contextlib
import logging
import sys
import threading
from typing import TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# How long a line may wait for others. A write hands the interpreter to the engine and waits to get it
# back, which at a hundred requests a second was a fifth of the event loop's time.
PATIENCE_SECONDS = 0.1


def configure(level: str) -> None:
    """Send the loggers of this package to standard error from `level` on; other loggers stay as they are."""
    root = logging.getLogger("capstan")
    root.setLevel(level)
    root.propagate = False
    if not root.handlers:
        handler = PatientHandler(sys.stderr, seconds=PATIENCE_SECONDS)
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)


def flush() -> None:
    """Write what still waits."""
    for handler in logging.getLogger("capstan").handlers:
        handler.flush()


class PatientHandler(logging.Handler):
    """Writes lines together, in their order, those of a warning and worse at once.

    A process that is killed loses the lines of the last `seconds`.
    """

    def __init__(self, stream: TextIO, *, seconds: float) -> None:
        super().__init__()
        self._stream = stream
        self._seconds = seconds
        self._lines: list[str] = []
        self._some = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._write_now_and_then, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the next write."""
        try:
            self._lines.append(self.format(record) + "\n")
            if record.levelno >= logging.WARNING:
                self.flush()
            elif not self._some.is_set():
                self._some.set()
        except Exception:  # noqa: BLE001 - as in logging's own handlers
            self.handleError(record)

    def flush(self) -> None:
        """Write what has come so far."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines and not self._stream.closed:
                self._stream.write("".join(lines))
                self._stream.flush()
        finally:
            self.release()

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._ended.set()
        self._some.set()
        self.flush()
        super().close()

    def _write_now_and_then(self) -> None:
        while not self._ended.is_set():
            self._some.wait()
            self._ended.wait(self._seconds)
            self._some.clear()
            with contextlib.suppress(OSError):  # where nobody reads any more, requests go on
                self.flush()
