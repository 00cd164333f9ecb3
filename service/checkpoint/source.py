"""Where a checkpoint is: a directory, or a repository of the Hugging Face hub that is fetched first."""

import logging
import re
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from service.checkpoint.progress import Transfer
from service.errors import CheckpointError

logger = logging.getLogger("capstan.checkpoint")

WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt"]
# Other forms of the same weights, and what belongs to them.
UNWANTED = ["original/*", "onnx/*", "consolidated*", "*/*.safetensors"]

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
EXPLICIT_PATH = ("/", "./", "../", "~")


def locate(name: str, revision: str | None, *, what: str = "model") -> Path:
    """The directory that holds a checkpoint, after a download where `name` is a hub id.

    `what` is what an error calls it.

    HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are the hub library's own variables. Raises CheckpointError for a
    directory that does not exist and for every way in which the hub can refuse or be out of reach.
    """
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if directory.exists():
        raise CheckpointError(f"{what} {name!r} is a file; give the directory that holds it")
    if name.startswith(EXPLICIT_PATH) or not HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"{what} {name!r} is not a directory on this machine, nor a hub id such as "
            "OpenGVLab/InternVL2-8B; check the path and what is mounted there"
        )
    return _fetch(name, revision, what)


def _fetch(name: str, revision: str | None, what: str) -> Path:
    at = f"{what} {name!r} at revision {revision!r}" if revision else f"{what} {name!r}"
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=WANTED,
            ignore_patterns=UNWANTED,
            tqdm_class=LoggedBar,
        )
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.TransportError, OSError) as error:
        raise CheckpointError(f"{at} {_reason(error)}") from error
    logger.info("%s is at commit %s", at, Path(folder).name)
    return Path(folder)


# The first class that fits an error says why, from the narrow to the wide.
REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (GatedRepoError, "is gated; accept its terms on the hub and set HF_TOKEN to a token of that account"),
    (
        RepositoryNotFoundError,
        "is not on the hub, or is private; check the name, or set HF_TOKEN to a token that may read it",
    ),
    (RevisionNotFoundError, "has no such revision; give a branch, tag or commit of the repository"),
    (HFValidationError, "is not a valid hub id; check the name"),
    (
        IncompleteSnapshotError,
        "is in the cache only in part; unset HF_HUB_OFFLINE, or mount a complete cache at HF_HOME",
    ),
    (
        (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError),
        "is not in the cache and the hub is out of reach; unset HF_HUB_OFFLINE, or give a directory",
    ),
)


def _reason(error: Exception) -> str:
    for kinds, why in REASONS:
        if isinstance(error, kinds):
            return why
    if isinstance(error, HfHubHTTPError):
        return (
            f"was refused by the hub with status {error.response.status_code}; check HF_TOKEN, or try later"
        )
    return f"cannot be stored: {getattr(error, 'strerror', None) or error}; free disk space at HF_HOME"


class LoggedBar(tqdm):  # type: ignore[misc]
    """What the hub library takes for a progress bar: bytes on the disk go to the log, all else nowhere.

    The library shows bytes twice, as they come from the network ("Downloading") and as they reach the disk.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - tqdm's own
        on_disk = kwargs.get("unit") == "B" and not str(kwargs.get("desc", "")).startswith("Downloading")
        self._transfer = Transfer("downloaded", 0) if on_disk else None
        super().__init__(*args, **(kwargs | {"disable": True}))

    def update(self, n: float | None = 1) -> None:
        """Count `n` more bytes, or files."""
        if self._transfer is not None:
            self._transfer.total = int(self.total or 0)
            self._transfer.add(int(n or 0))
