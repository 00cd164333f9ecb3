"""`capstan usage`: what each key has used, from the usage ledgers of the replicas (docs/metrics.md)."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from k8s.commands.session import Display
from k8s.errors import UsageError

COUNTED = ("images", "image_tiles", "prompt_tokens", "completion_tokens")
SECONDS_PER_HOUR = 3600
# Without a name for the key, the server needs none.
NO_KEY = "-"


class By(StrEnum):
    """What the rows are."""

    KEY = "key"
    MODEL = "model"
    DAY = "day"


@dataclass(slots=True)
class Usage:
    """The sum over requests. `answered` of them ended without an error."""

    requests: int = 0
    answered: int = 0
    images: int = 0
    image_tiles: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    gpu_seconds: float = 0.0

    def add(self, line: dict[str, Any]) -> None:
        """Add the line of a request."""
        self.requests += 1
        self.answered += line["code"] == "ok"
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + line[name])
        self.gpu_seconds += line["gpu_seconds"]

    def row(self, gpu_hour: float | None) -> dict[str, Any]:
        """The columns of a row; `gpu_hour`, the price of an hour of a GPU, adds those of the cost."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in ("requests", "answered", *COUNTED)}
        columns["gpu_seconds"] = round(self.gpu_seconds, 3)
        if gpu_hour is not None:
            cost = self.gpu_seconds / SECONDS_PER_HOUR * gpu_hour
            columns["cost"] = round(cost, 4)
            columns["cost_per_1000_captions"] = round(1000 * cost / self.images, 4) if self.images else None
        return columns


def usage(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Files of the usage ledger."),
    ],
    by: Annotated[By, typer.Option("--by", help="A row for each key, model or day (UTC).")] = By.KEY,
    gpu_hour: Annotated[
        float | None, typer.Option("--gpu-hour", metavar="PRICE", min=0, help="Price of an hour of a GPU.")
    ] = None,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Sum usage ledgers: images, tiles, tokens and GPU-seconds, and what they cost.

    Captions are counted by their images. GPU-seconds are those in which steps of the model worked for a key,
    so the cost is that of the work; GPUs that wait cost as much and belong to no key.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other; choose one")
    sums = total(chain.from_iterable(map(lines, files)), by)
    rows = [{by.value: name, **each.row(gpu_hour)} for name, each in sorted(sums.items())]
    if as_csv:
        writer = csv.DictWriter(sys.stdout, rows[0] if rows else [by.value], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    display = Display(as_json=as_json)
    display.result({"usage": rows})
    if rows:
        display.table("usage", [name.upper() for name in rows[0]], [_cells(row) for row in rows])


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ledger file; one that was cut off at the end of the file is left out.

    Raises UsageError for a file that is no ledger.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                return
            try:
                line = json.loads(text)
                Usage().add(line)
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"{path}, line {number} is no line of a usage ledger; name files that "
                    "CAPSTAN_USAGE_LEDGER wrote"
                ) from None
            yield line


def total(found: Iterable[dict[str, Any]], by: By) -> dict[str, Usage]:
    """The sums by key, model or day."""
    sums: dict[str, Usage] = {}
    for line in found:
        name = line["time"][:10] if by is By.DAY else line[by.value]
        sums.setdefault(name or NO_KEY, Usage()).add(line)
    return sums


def _cells(row: dict[str, Any]) -> Sequence[str]:
    return [
        "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        for value in row.values()
    ]
