"""The log of a replica: one line per event on standard error, where Ray collects it."""

import contextlib
import dataclasses
import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# How long a line may wait for others. A write hands the interpreter to the engine and waits to get it back,
# which took a fifth of the event loop's time at a hundred requests per second.
FLUSH_SECONDS = 0.1


class JsonFormatter(logging.Formatter):
    """One JSON document per line. A message that is a dataclass adds its fields, a request its identifier."""

    def format(self, record: logging.LogRecord) -> str:
        """The document of a record."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if dataclasses.is_dataclass(record.msg) and not isinstance(record.msg, type):
            document |= dataclasses.asdict(record.msg)
        if hasattr(record, "request_id"):
            document["request_id"] = record.request_id
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def configure(level: str, log_format: Literal["text", "json"]) -> None:
    """Send the loggers of this package to standard error from `level` up; leave other loggers alone."""
    root = logging.getLogger("capstan")
    root.setLevel(level)
    root.propagate = False
    if not root.handlers:
        handler = BatchingHandler(sys.stderr, seconds=FLUSH_SECONDS)
        handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(FORMAT))
        root.addHandler(handler)


def flush() -> None:
    """Write the lines that are still waiting."""
    for handler in logging.getLogger("capstan").handlers:
        handler.flush()


class BatchingHandler(logging.Handler):
    """Writes lines in batches, in order; a warning or worse is written at once.

    A process that is killed loses the lines of the last `seconds`.
    """

    def __init__(self, stream: TextIO, *, seconds: float) -> None:
        super().__init__()
        self._stream = stream
        self._seconds = seconds
        self._lines: list[str] = []
        self._pending = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._write_batches, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the next batch."""
        try:
            self._lines.append(self.format(record) + "\n")
            if record.levelno >= logging.WARNING:
                self.flush()
            elif not self._pending.is_set():
                self._pending.set()
        except Exception:  # noqa: BLE001 - as in logging's own handlers
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines so far."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines and not self._stream.closed:
                self._stream.write("".join(lines))
                self._stream.flush()
        finally:
            self.release()

    def close(self) -> None:
        """Write the rest and stop the thread."""
        self._stopped.set()
        self._pending.set()
        self.flush()
        super().close()

    def _write_batches(self) -> None:
        while not self._stopped.is_set():
            self._pending.wait()
            self._stopped.wait(self._seconds)
            self._pending.clear()
            with contextlib.suppress(OSError):  # requests go on even if no one reads the log
                self.flush()
