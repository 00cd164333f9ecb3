"""What each rollout was and how it ended: a ConfigMap beside Helm's own revisions, keyed by revision."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from k8s.doors.cluster import Cluster
from k8s.errors import ClusterError

KEPT = 20
RUNNING = "running"
SERVING = "serves"
FAILED = "failed"
ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rollout: who, when, what, with which image, and how it ended after how many seconds."""

    revision: int
    who: str
    when: str
    what: tuple[str, ...] = ()
    outcome: str = RUNNING
    reason: str = ""
    seconds: float = 0.0
    images: tuple[str, ...] = ()

    def ended(
        self, outcome: str, *, reason: str = "", seconds: float = 0.0, images: tuple[str, ...] = ()
    ) -> "Entry":
        """The same rollout, once its outcome is known."""
        return replace(
            self, outcome=outcome, reason=reason, seconds=round(seconds, 1), images=images or self.images
        )


class History:
    """The journal of one release, in its namespace."""

    def __init__(self, cluster: Cluster, release: str) -> None:
        self._cluster = cluster
        self._name = f"capstan-{release}-history"
        self._path = f"{cluster.core}/configmaps"

    def entries(self) -> dict[int, Entry]:
        """What is known, by revision."""
        found = self._cluster.find(f"{self._path}/{self._name}") or {}
        return read(found.get("data") or {})

    def write(self, entry: Entry) -> None:
        """Add or replace an entry; the oldest beyond twenty go."""
        entries = {**self.entries(), entry.revision: entry}
        gone = sorted(entries)[:-KEPT]
        data: dict[str, Any] = {
            str(entry.revision): json.dumps(asdict(entry)),
            **{str(n): None for n in gone},
        }
        try:
            self._cluster.patch(f"{self._path}/{self._name}", {"data": data})
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            kept = {key: value for key, value in data.items() if value is not None}
            self._cluster.create(self._path, {"metadata": {"name": self._name}, "data": kept})


def read(data: Mapping[str, str]) -> dict[int, Entry]:
    """The entries in a ConfigMap's data; one that cannot be read is left out."""
    found = {}
    for value in data.values():
        try:
            said = json.loads(value)
            entry = Entry(**{**said, "what": tuple(said["what"]), "images": tuple(said["images"])})
        except (ValueError, TypeError, KeyError):
            continue
        found[entry.revision] = entry
    return found


def last_good(entries: Mapping[int, Entry], before: int) -> int | None:
    """The newest revision before `before` that is known to have served."""
    return max((n for n, e in entries.items() if n < before and e.outcome == SERVING), default=None)


def stamp() -> str:
    """Now, as the journal writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
