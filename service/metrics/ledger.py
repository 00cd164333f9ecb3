"""The usage ledger: one JSON line for each request of a route that generates text. `capstan usage` sums it.

A line never holds an image, a prompt, a caption or a key itself.
"""

import json
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from service.errors import StartupError
from service.metrics.record import GENERATING, RequestRecord
from service.settings import Settings

logger = logging.getLogger("capstan.ledger")

# Names of keys are private.
MODE = 0o600


class Ledger:
    """Appends to files of one process in a directory; a file that is full is followed by another.

    Lines are only ever appended, and no file is renamed or removed: that is for those who collect them.
    """

    def __init__(self, directory: Path, *, max_bytes: int, gpus: int, process: str) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._gpus = gpus
        self._process = process
        self._number = 0
        self._failing = False
        directory.mkdir(parents=True, exist_ok=True)
        self._file = self._open()
        self._size = os.fstat(self._file).st_size

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """As configured; None without a directory. Raises StartupError where it cannot be written."""
        if settings.usage_ledger is None:
            return None
        try:
            return cls(
                settings.usage_ledger,
                max_bytes=settings.usage_ledger_bytes,
                gpus=settings.gpus_per_replica,
                process=f"{socket.gethostname()}-{os.getpid()}-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            )
        except OSError as error:
            raise StartupError(
                f"{settings.usage_ledger} cannot be written ({error.strerror}); "
                "make it a directory that the replica may write to (CAPSTAN_USAGE_LEDGER)"
            ) from None

    def record(self, record: RequestRecord) -> None:
        """Append the line of a request. A disk that fails costs lines, not requests."""
        if record.route not in GENERATING:
            return
        line = (json.dumps(self._line(record), separators=(",", ":")) + "\n").encode()
        try:
            if self._size and self._size + len(line) > self._max_bytes:
                self._next()
            os.write(self._file, line)  # one call, so that no line is torn
            self._size += len(line)
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.error("usage is not recorded until the disk works again: %s", error)  # noqa: TRY400
            self._failing = True

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _line(self, record: RequestRecord) -> dict[str, object]:
        answers = record.completions
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": record.request_id,
            "key": record.key,
            "model": record.model,
            "route": record.route,
            "code": record.outcome,
            "seconds": round(record.seconds, 3),
            "images": record.images,
            "image_tiles": record.usage.image_tiles,
            "prompt_tokens": record.usage.prompt_tokens,
            "completion_tokens": record.usage.completion_tokens,
            "gpu_seconds": round(sum(answer.timings.compute for answer in answers) * self._gpus, 6),
        }

    def _open(self) -> int:
        path = self._directory / f"usage-{self._process}-{self._number:04}.jsonl"
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _next(self) -> None:
        self._number += 1
        full, self._file = self._file, self._open()
        os.close(full)
        self._size = 0
