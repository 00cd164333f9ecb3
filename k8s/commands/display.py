"""Output: lines of text, tables on a terminal, or JSON."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


class Display:
    """Progress goes to standard error, results to standard output (JSON with `as_json`)."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(soft_wrap=True, highlight=False, markup=False)
        self._err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def say(self, sentence: str) -> None:
        """Write a line of progress."""
        self._err.print(sentence)

    def result(
        self,
        value: Any,  # noqa: ANN401 - what JSON can hold
        lines: Sequence[str] = (),
        *,
        more: bool = False,
    ) -> None:
        """Write the result: the JSON value, or lines of text. With `more` to follow, a value is one line."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=None if more else 2, default=str) + "\n")
        else:
            for line in lines:
                self._out.print(line)
        sys.stdout.flush()

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table on a terminal, aligned columns elsewhere, and nothing with JSON."""
        if self.as_json:
            return
        if self._out.is_terminal:
            table = Table(*head, title=title, title_justify="left")
            for row in rows:
                table.add_row(*row)
            self._out.print(table)
            return
        widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
        self._out.print(title)
        for row in [head, *rows]:
            self._out.print("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
