"""A JSON file of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from service.errors import CheckpointError


def read(directory: Path, name: str, *, what: str) -> dict[str, Any]:
    """The object in a JSON file; `what` says in words what the file is for.

    Raises CheckpointError where the file is missing or is not a JSON object.
    """
    found = read_if_there(directory, name)
    if found is None:
        raise CheckpointError(f"checkpoint has no {name}, {what}; copy the file from the model's repository")
    return found


def read_if_there(directory: Path, name: str) -> dict[str, Any] | None:
    """The object in a JSON file, or None without such a file. Raises CheckpointError for damaged JSON."""
    try:
        parsed = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name} of the checkpoint cannot be read: {error}; copy it again") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{name} of the checkpoint is no JSON object; copy it again")
    return parsed
