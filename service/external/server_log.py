"""Which lines of another server's log go into ours: its progress while it starts, never a prompt."""

import logging
import re
import threading
import time
from collections import deque
from io import BufferedReader

logger = logging.getLogger("capstan.engine.server")

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRESS_BAR = re.compile(r"\d+%\|")
BAR_SECONDS = 5.0  # between two lines of a progress bar
MAX_LINE = 300  # characters
MAX_READ = 65_536  # bytes without a line break
LAST_LINES = 12

# Once requests are served, a line may quote one. These quote none.
HARMLESS = re.compile(
    r"out of memory|OutOfMemoryError|EngineDeadError|CUDA error|NCCL|shutting down|throughput: ",
    re.IGNORECASE,
)
ERROR_NAME = re.compile(r"\b([A-Z]\w*(?:Error|Exception))\b")


class ServerLog:
    """Reads the log of one server in a thread of its own, so that the server never waits for its reader."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._serving = threading.Event()
        self._next_bar = 0.0

    def serving(self) -> None:
        """From now on, lines may quote requests."""
        self._serving.set()

    def last_lines(self) -> str:
        """The end of what the server wrote while it started, as one text."""
        return " | ".join(self._last)

    def read(self, stream: BufferedReader) -> None:
        """Read until the stream ends, and close it."""
        left = b""
        with stream:
            while data := stream.read1(MAX_READ):
                *lines, left = re.split(rb"[\r\n]", left + data)
                for line in lines:
                    self._take(line)
                left = left[:MAX_READ]
        self._take(left)

    def _take(self, data: bytes) -> None:
        line = ANSI.sub("", data.decode(errors="replace")).strip()[:MAX_LINE]
        if not line:
            return
        if self._serving.is_set():
            line = _without_quotes(line)
        elif not PROGRESS_BAR.search(line) or self._bar_is_due():
            self._last.append(line)
        else:
            return
        if line:
            logger.info("%s", line)

    def _bar_is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next_bar:
            return False
        self._next_bar = now + BAR_SECONDS
        return True


def _without_quotes(line: str) -> str:
    """What of a line can hold nothing of a request: the line itself, the name of an error, or nothing."""
    if HARMLESS.search(line):
        return line
    name = ERROR_NAME.search(line)
    return name.group(1) if name else ""
