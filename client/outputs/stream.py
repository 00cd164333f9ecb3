"""Standard output: for reading, or for another program. Nothing is kept, so nothing can be continued."""

import json
import sys

from client.outputs.journal import csv_line
from client.outputs.output import Format
from client.record import COLUMNS, Record

WIDEST = 40


class Table:
    """Image and caption in two columns; without a terminal, separated by a tab."""

    def __init__(self) -> None:
        self._width = 0

    def has(self, image: str) -> bool:  # noqa: ARG002 - as in `Output`
        """Never: each run writes all."""
        return False

    def append(self, record: Record) -> None:
        """Write a line."""
        text = record.caption if record.caption is not None else f"{record.error_code}: {record.error}"
        name, text = _plain(record.image), _plain(text)
        if sys.stdout.isatty():
            self._width = max(self._width, min(WIDEST, len(name)))
            _write(f"{name:{self._width}}  {text}\n")
        else:
            _write(f"{name}\t{text}\n")

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""


class Lines:
    """JSON objects or CSV."""

    def __init__(self, form: Format) -> None:
        self._json = form is Format.JSONL
        if not self._json:
            _write(csv_line(COLUMNS))

    def has(self, image: str) -> bool:  # noqa: ARG002 - as in `Output`
        """Never: each run writes all."""
        return False

    def append(self, record: Record) -> None:
        """Write a line."""
        row = record.row()
        if self._json:
            _write(json.dumps({n: v for n, v in row.items() if v is not None}) + "\n")
        else:
            _write(csv_line(row.values()))

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""


def _plain(text: str) -> str:
    """A text on one line, without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
