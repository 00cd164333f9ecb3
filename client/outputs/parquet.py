"""Parquet: the file is written when all images have a record, from a journal next to it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from client.errors import UsageError
from client.outputs.journal import JsonJournal
from client.record import COLUMNS, COUNTS, Record

ROWS = 10_000  # of a row group


class Parquet:
    """`captions.parquet`, and until the end of a run `captions.parquet.jsonl`, which a new run continues."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where pyarrow is missing, or for a file that holds something else."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - an optional dependency
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError:
            raise UsageError(
                "Parquet needs pyarrow; run pip install 'capstan-serve[batch]', or write .jsonl"
            ) from None
        self._arrow, self._parquet = pa, parquet
        self._path = path
        self._journal_path = path.with_name(path.name + ".jsonl")
        if path.exists() and not self._journal_path.exists():
            self._copy(path)
        self._journal = JsonJournal(self._journal_path)

    def has(self, image: str) -> bool:
        """Whether an earlier run has captioned this image."""
        return self._journal.has(image)

    def append(self, record: Record) -> None:
        """Write a record to the journal."""
        self._journal.append(record)

    def finish(self) -> None:
        """Write the file, a row group at a time, and remove the journal."""
        pa = self._arrow
        schema = pa.schema([(n, pa.int64() if n in COUNTS else pa.string()) for n in COLUMNS])
        unfinished = self._path.with_name(self._path.name + ".unfinished")
        with (
            self._journal_path.open(encoding="utf-8", errors="backslashreplace") as file,
            self._parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer,
        ):
            for rows in _batches(self._journal.records(file)):
                writer.write_table(pa.Table.from_pylist(rows, schema))
        unfinished.replace(self._path)
        self._journal_path.unlink()

    def close(self) -> None:
        """Close the journal, which stays unless the run was finished."""
        self._journal.close()

    def _copy(self, path: Path) -> None:
        """Put the records of an earlier run's file into the journal."""
        journal = JsonJournal(self._journal_path)
        try:
            for batch in self._parquet.ParquetFile(path).iter_batches(ROWS):
                for row in batch.to_pylist():
                    journal.append(Record.from_row(row))
        except (TypeError, ValueError, self._arrow.ArrowInvalid):
            self._journal_path.unlink()
            raise UsageError(f"{path} is no output of this command; name another --output") from None
        finally:
            journal.close()


def _batches(records: Iterator[Record]) -> Iterator[list[dict[str, Any]]]:
    while rows := [record.row() for record in islice(records, ROWS)]:
        yield rows
