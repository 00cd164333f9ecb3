"""`capstan keys`: create an API key, and its entry in the keys file of the service (docs/access.md)."""

import hashlib
import os
import re
import secrets
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from k8s.commands.session import Display
from k8s.errors import RefusedError, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Identifies the key to anyone who finds it in a log or a repository.
PREFIX = "ck-"
SECRET_BYTES = 32
# The hashes are useless to others, but the names in it are private.
MODE = 0o600

app = typer.Typer(name="keys", no_args_is_help=True, help="Create API keys (docs/access.md).")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One entry of the keys file. A limit of None means no limit; no models means all."""

    name: str
    sha256: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    concurrent_requests: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }


def create_key(name: str, models: tuple[str, ...] = (), **limits: int | None) -> tuple[str, KeyEntry]:
    """A new key and its entry. Raises UsageError for an invalid name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r:.70} cannot name a key; use 1 to 64 letters, digits, dots, hyphens and underscores"
        )
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return key, KeyEntry(name, hashlib.sha256(key.encode()).hexdigest(), models, **limits)


def entry_text(entry: KeyEntry) -> str:
    """The entry as text to paste below `keys:`."""
    return _indented(entry, "  ")


def append_entry(path: Path, entry: KeyEntry) -> None:
    """Add an entry to a keys file, or create the file. The file is replaced atomically.

    Comments and order are kept, unless the list is written in brackets.
    Raises RefusedError where the file is not a keys file, or has the name already.
    """
    path = path.resolve()
    try:
        content = path.read_text() if path.exists() else "keys:\n"
    except (OSError, UnicodeDecodeError):
        raise RefusedError(f"{path.name} is not a text file; name a keys file, or a new one") from None
    entries = _entries(content, path)
    if any(isinstance(one, dict) and one.get("name") == entry.name for one in entries):
        raise RefusedError(
            f"{path.name} already has a key {entry.name}; give the new key of a rotation another name, "
            f"such as {entry.name:.60}-2"
        )
    wanted = {"keys": [*entries, entry.to_dict()]}
    for indent in ("  ", ""):
        longer = content.rstrip("\n") + "\n" + _indented(entry, indent)
        if _loaded(longer) == wanted:
            break
    else:
        longer = yaml.safe_dump(wanted, sort_keys=False)
    _replace(path, longer)


@app.callback()
def _group() -> None:
    """Create API keys (docs/access.md)."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Owner of the key; the name appears in logs.")],
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="A model that the key may use; repeat for more. Default: all."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            "--requests-per-minute", metavar="N", min=1, help="Most requests per minute. Default: no limit."
        ),
    ] = None,
    images_per_minute: Annotated[
        int | None,
        typer.Option(
            "--images-per-minute", metavar="N", min=1, help="Most images per minute. Default: no limit."
        ),
    ] = None,
    concurrent_requests: Annotated[
        int | None,
        typer.Option(
            "--concurrent-requests", metavar="N", min=1, help="Most concurrent requests. Default: no limit."
        ),
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
    """Create a key. It is printed once, to standard output, and stored nowhere; its entry has only a hash."""
    key, entry = create_key(
        name,
        tuple(model or ()),
        requests_per_minute=requests_per_minute,
        images_per_minute=images_per_minute,
        concurrent_requests=concurrent_requests,
    )
    if append is not None:
        append_entry(append, entry)
    if as_json:
        Display(as_json=True).result({"name": name, "key": key, "entry": entry.to_dict()})
        return
    _say(f"The key of {name}; it is not shown again:")
    typer.echo(key)
    if append is None:
        _say("\nIts entry, to add below `keys:` in the keys file:")
        typer.echo(entry_text(entry), nl=False)
    else:
        _say(f"Its entry was added to {append}.")


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _indented(entry: KeyEntry, indent: str) -> str:
    lines = yaml.safe_dump([entry.to_dict()], sort_keys=False).splitlines()
    return "".join(f"{indent}{line}\n" for line in lines)


def _loaded(content: str) -> object:
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None


def _entries(content: str, path: Path) -> list[Any]:
    document = _loaded(content)
    if not isinstance(document, dict) or set(document) != {"keys"}:
        raise RefusedError(f"{path.name} is not a keys file: its only field must be `keys`, a list")
    entries = [] if document["keys"] is None else document["keys"]
    if not isinstance(entries, list):
        raise RefusedError(f"{path.name} is not a keys file: its field `keys` must be a list")
    return entries


def _replace(path: Path, content: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else MODE
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RefusedError(f"{path.name} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(number, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
