"""docs/cli.md: the help of every command of `capstan`, from the code."""

from collections.abc import Iterator
from typing import Any

import typer.main
from typer.testing import CliRunner

from k8s.cli import app

HEAD = """# The command `capstan`

<!-- Generated from k8s/cli.py by `make docs`. -->

[rollouts.md](rollouts.md) explains the commands that deploy, [captioning.md](captioning.md) `caption`,
[access.md](access.md) `keys`, [metrics.md](metrics.md) `usage` and [sizing.md](sizing.md) `size`.
"""


def page() -> str:
    """The page."""
    texts = [f"## {' '.join(('capstan', *names))}\n\n```text\n{_help(names)}\n```\n" for names in _commands()]
    return "\n".join((HEAD, *texts))


def _commands() -> Iterator[tuple[str, ...]]:
    """The names of the commands, the program itself first, and of their subcommands."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while waiting:
        names, command = waiting.pop(0)
        yield names
        below = getattr(command, "commands", {})
        waiting += [((*names, name), found) for name, found in below.items()]


def _help(names: tuple[str, ...]) -> str:
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    shown = CliRunner().invoke(app, [*names, "--help"], env=environment, prog_name="capstan").stdout
    return "\n".join(line.rstrip() for line in shown.strip().splitlines())
