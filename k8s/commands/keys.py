"""API keys: a new key, and its entry of the file that the service reads (docs/access.md)."""

import hashlib
import os
import re
import secrets
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from k8s.errors import RefusedError, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Says to whoever finds a key in a log or a repository what it opens.
PREFIX = "ck-"
SECRET_BYTES = 32
# Its hashes open nothing, but nobody else needs to know who has a key.
MODE = 0o600


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the keys file; a limit that is None does not hold, no models are all of them."""

    name: str
    sha256: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    concurrent_requests: int | None = None

    def written(self) -> dict[str, Any]:
        """The fields that say something."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }


def new(name: str, models: tuple[str, ...] = (), **limits: int | None) -> tuple[str, Entry]:
    """A key that nobody has seen yet, and its entry. Raises UsageError for a name that is no name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r:.70} cannot name a key; take 1 to 64 letters, digits, dots, hyphens and underscores"
        )
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return key, Entry(name, hashlib.sha256(key.encode()).hexdigest(), models, **limits)


def text(entry: Entry) -> str:
    """The entry as it is pasted below `keys:`."""
    return _indented(entry, "  ")


def append(path: Path, entry: Entry) -> None:
    """Add an entry to a keys file, which is made where there is none; the file is whole at any moment.

    Comments and order stay, unless the list is written between brackets.
    Raises RefusedError where the file is no keys file, or has the name already.
    """
    path = path.resolve()
    try:
        content = path.read_text() if path.exists() else "keys:\n"
    except (OSError, UnicodeDecodeError):
        raise RefusedError(
            f"{path.name} cannot be read as text; name a file that holds keys, or a new one"
        ) from None
    entries = _entries(content, path)
    if any(isinstance(one, dict) and one.get("name") == entry.name for one in entries):
        raise RefusedError(
            f"{path.name} has a key {entry.name} already; give the new key of a rotation a name of its own, "
            f"such as {entry.name:.60}-2"
        )
    wanted = {"keys": [*entries, entry.written()]}
    for indent in ("  ", ""):
        longer = content.rstrip("\n") + "\n" + _indented(entry, indent)
        if _loaded(longer) == wanted:
            break
    else:
        longer = yaml.safe_dump(wanted, sort_keys=False)
    _replace(path, longer)


def _indented(entry: Entry, indent: str) -> str:
    lines = yaml.safe_dump([entry.written()], sort_keys=False).splitlines()
    return "".join(f"{indent}{line}\n" for line in lines)


def _loaded(content: str) -> object:
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None


def _entries(content: str, path: Path) -> list[Any]:
    document = _loaded(content)
    if not isinstance(document, dict) or set(document) != {"keys"}:
        raise RefusedError(f"{path.name} is not a keys file: its only field is to be `keys`, a list")
    entries = [] if document["keys"] is None else document["keys"]
    if not isinstance(entries, list):
        raise RefusedError(f"{path.name} is not a keys file: its field `keys` is to be a list")
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
