"""Keys files for tests."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

ALICE, BOB = "ck-alice", "ck-bob"


def entry(name: str, secret: str, **fields: Any) -> dict[str, Any]:
    """An entry of a keys file."""
    return {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), **fields}


def document(*entries: dict[str, Any]) -> bytes:
    """A keys file with these entries."""
    return yaml.safe_dump({"keys": list(entries)}).encode()


def write(path: Path, *entries: dict[str, Any]) -> Path:
    """Write a keys file."""
    path.write_bytes(document(*entries))
    return path
