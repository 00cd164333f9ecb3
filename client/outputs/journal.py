"""Files that grow by a record at a time, so that a run which was killed can go on where it ended."""

import csv
import fcntl
import hashlib
import io
import json
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from client.errors import UsageError
from client.record import COLUMNS, COUNTS, Record

JSON_START = '{"image": "'


class CutOffError(Exception):
    """The last record of a file was cut off."""


class Journal(ABC):
    """A file of records, locked while it is open.

    Opening keeps what an earlier run has captioned. What failed then, and a last line that was cut off, are
    removed, so that each image has one record in the end.
    """

    def __init__(self, path: Path) -> None:
        """Raises UsageError for a file that holds something else, or that another run has open."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(
                f"{path} is the output of another run; wait for it, or name another --output"
            ) from None
        try:
            self._done = self._recover()
        except BaseException:
            self._file.close()
            raise

    def has(self, image: str) -> bool:
        """Whether an earlier run has captioned this image."""
        wanted = _hash(image)
        place = bisect_left(self._done, wanted)
        return place < len(self._done) and self._done[place] == wanted

    def append(self, record: Record) -> None:
        """Write a record to the file."""
        self._write(self.line(record))

    def finish(self) -> None:
        """Nothing is left to do, as each record is in the file already."""
        self._file.flush()

    def close(self) -> None:
        """Close and unlock the file."""
        self._file.close()

    @abstractmethod
    def records(self, file: TextIO) -> Iterator[Record]:
        """The whole records of a file. Raises ValueError, TypeError or csv.Error for what is none."""

    @abstractmethod
    def line(self, record: Record) -> str:
        """A record as it is written, with its end of line."""

    def head(self) -> str:
        """What an empty file begins with."""
        return ""

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def _recover(self) -> "array[int]":
        """Remove from the file what is to be done again; the hashes of the images that are done.

        The rest is copied first and then replaces the file at once, so that a kill in between loses nothing.
        """
        done: list[int] = []
        copy = self.path.with_name(self.path.name + ".recovered")
        copy.unlink(missing_ok=True)
        kept = _open(copy)
        try:
            kept.write(self.head())
            for record in self._whole_records():
                if record.caption is not None:
                    done.append(_hash(record.image))
                    kept.write(self.line(record))
            kept.flush()
            if copy.stat().st_size != self.path.stat().st_size:
                fcntl.flock(kept, fcntl.LOCK_EX)
                copy.replace(self.path)
                self._file, kept = kept, self._file
        finally:
            kept.close()
            copy.unlink(missing_ok=True)
        self._file.seek(0, io.SEEK_END)
        return array("Q", sorted(done))

    def _whole_records(self) -> Iterator[Record]:
        self._file.seek(0)
        count = 0
        try:
            for record in self.records(self._file):
                count += 1
                yield record
        except CutOffError:
            return
        except (ValueError, TypeError, csv.Error):
            raise UsageError(
                f"{self.path} is no output of this command (record {count + 1}); name another --output"
            ) from None


class JsonJournal(Journal):
    """A JSON object a line."""

    def records(self, file: TextIO) -> Iterator[Record]:
        """See `Journal`."""
        while line := file.readline():
            if not line.endswith("\n") and line[: len(JSON_START)] == JSON_START[: len(line)]:
                raise CutOffError
            yield Record.from_row(json.loads(line))

    def line(self, record: Record) -> str:
        """See `Journal`."""
        row = {name: value for name, value in record.row().items() if value is not None}
        return json.dumps(row, ensure_ascii=False) + "\n"


class CsvJournal(Journal):
    """CSV with a row of column names. A caption may have line breaks; it is quoted then."""

    def head(self) -> str:
        """See `Journal`."""
        return csv_line(COLUMNS)

    def records(self, file: TextIO) -> Iterator[Record]:
        """See `Journal`."""
        head = file.readline()
        if head != self.head():
            if self.head().startswith(head):
                raise CutOffError
            raise ValueError("other columns")
        rows = csv.reader(_lines(file), strict=True)
        while True:
            try:
                row = next(rows, None)
            except csv.Error:
                if not file.read(1):  # the end of the file, within quotes
                    raise CutOffError from None
                raise
            if row is None:
                return
            yield _from_cells(dict(zip(COLUMNS, row, strict=True)))

    def line(self, record: Record) -> str:
        """See `Journal`."""
        return csv_line(record.row().values())


def csv_line(cells: Iterable[Any]) -> str:
    """A line of CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _from_cells(cells: dict[str, str]) -> Record:
    row: dict[str, Any] = {name: text or None for name, text in cells.items()}
    row |= {name: int(cells[name]) for name in COUNTS if cells[name]}
    if not cells["error_code"]:
        row["caption"] = cells["caption"]  # empty, perhaps
    return Record.from_row(row)


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline():
        if not line.endswith("\n"):
            raise CutOffError
        yield line


def _open(path: Path) -> TextIO:
    # Names of files need not be UTF-8. CSV has its own line ends.
    return path.open("a+", encoding="utf-8", errors="surrogateescape", newline="")


def _hash(image: str) -> int:
    """64 bits that stand for a name: a million take 8 MB, and two share one in 3 of 100 million runs."""
    name = image.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
