"""What a run asks of its output, and the choice of one."""

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from client.errors import UsageError
from client.record import Record


class Format(StrEnum):
    """The forms of output."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    TXT = "txt"


class Output(Protocol):
    """Keeps records as they come. A run that is killed loses at most those that were not appended."""

    def has(self, image: str) -> bool:
        """Whether an earlier run has captioned this image."""
        ...

    def append(self, record: Record) -> None:
        """Keep a record; once this returns, killing the process does not lose it."""
        ...

    def finish(self) -> None:
        """Called when all images have a record."""
        ...

    def close(self) -> None:
        """Called at the end, whatever has happened."""
        ...


def choose_output(path: Path | None, form: Format | None) -> Output:
    """The output of the options --output and --format. Raises UsageError for a pair that makes no sense."""
    form = form or _form_of(path)
    if form is Format.TXT:
        from client.outputs.sidecar import Sidecars  # noqa: PLC0415 - only the chosen form is imported

        return Sidecars(path)
    if form is Format.TABLE:
        if path is not None:
            raise UsageError(f"a table goes to standard output; leave out --output {path}")
        from client.outputs.stream import Table  # noqa: PLC0415

        return Table()
    if path is None:
        if form is Format.PARQUET:
            raise UsageError("Parquet needs a file; add --output captions.parquet")
        from client.outputs.stream import Lines  # noqa: PLC0415

        return Lines(form)
    if form is Format.PARQUET:
        from client.outputs.parquet import Parquet  # noqa: PLC0415

        return Parquet(path)
    from client.outputs.journal import CsvJournal, JsonJournal  # noqa: PLC0415

    return JsonJournal(path) if form is Format.JSONL else CsvJournal(path)


def _form_of(path: Path | None) -> Format:
    if path is None:
        return Format.TABLE
    if "://" in str(path) or ":/" in str(path):
        raise UsageError(f"--output {path} is not on this machine; write a file here and copy it")
    if path.is_dir():
        return Format.TXT
    try:
        return Format(path.suffix.removeprefix("."))
    except ValueError:
        raise UsageError(
            f"--output {path} does not end in .jsonl, .csv or .parquet; rename it or add --format"
        ) from None
