"""`capstan keys`: API keys for the service."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from k8s.commands import keys
from k8s.commands.display import Display

app = typer.Typer(name="keys", no_args_is_help=True, help="Make API keys (docs/access.md).")


@app.callback()
def _group() -> None:
    """Make API keys (docs/access.md)."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; the name goes into logs.")],
    *,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="A model that it may use; repeat for more. None: all."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", metavar="N", min=1, help="Requests a minute.")
    ] = None,
    images_per_minute: Annotated[
        int | None, typer.Option("--images-per-minute", metavar="N", min=1, help="Images a minute.")
    ] = None,
    concurrent_requests: Annotated[
        int | None, typer.Option("--concurrent-requests", metavar="N", min=1, help="Requests at once.")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option(
            "--append", metavar="FILE", help="Add the entry to this keys file instead of printing it."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write key and entry as JSON to standard output.")
    ] = False,
) -> None:
    """Make a key. It is printed once, to standard output, and kept nowhere; its entry holds a hash."""
    key, entry = keys.new(
        name,
        tuple(model or ()),
        requests_per_minute=requests_per_minute,
        images_per_minute=images_per_minute,
        concurrent_requests=concurrent_requests,
    )
    if append is not None:
        keys.append(append, entry)
    if as_json:
        Display(as_json=True).result({"name": name, "key": key, "entry": entry.written()})
        return
    _say(f"The key of {name}, which is not shown again:")
    typer.echo(key)
    if append is None:
        _say("\nIts entry, for the list `keys` of the keys file:")
        typer.echo(keys.text(entry), nl=False)
    else:
        _say(f"Its entry is in {append}.")


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
