"""The history of rollouts: a ConfigMap next to Helm's own revisions, with one entry per revision."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from k8s.clients.helm import Revision, last_deployed
from k8s.clients.kubernetes import KubernetesClient
from k8s.errors import CapstanError
from k8s.rollout.lease import holder_name

KEPT = 20
RUNNING = "running"
SERVING = "serves"
FAILED = "failed"
ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class RolloutEntry:
    """One rollout: who, when, what, which images, and how it ended."""

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
    ) -> "RolloutEntry":
        """The same rollout with its outcome."""
        return replace(
            self, outcome=outcome, reason=reason, seconds=round(seconds, 1), images=images or self.images
        )


class History:
    """The history of one release, in its namespace."""

    def __init__(self, client: KubernetesClient, release: str) -> None:
        self._client = client
        self._name = f"capstan-{release}-history"
        self._path = f"{client.core}/configmaps"

    def entries(self) -> dict[int, RolloutEntry]:
        """The entries, by revision."""
        found = self._client.find(f"{self._path}/{self._name}") or {}
        return parse(found.get("data") or {})

    def last_serving(self, revisions: Sequence[Revision], before: int) -> int | None:
        """The newest of Helm's revisions before `before` that is not known to have failed."""
        failed = {n for n, entry in self.entries().items() if entry.outcome != SERVING}
        return last_deployed([r for r in revisions if r.number < before and r.number not in failed])

    def write(self, entry: RolloutEntry) -> None:
        """Add or replace an entry; only the newest twenty are kept."""
        entries = {**self.entries(), entry.revision: entry}
        dropped = sorted(entries)[:-KEPT]
        data: dict[str, Any] = {
            str(entry.revision): json.dumps(asdict(entry)),
            **{str(n): None for n in dropped},
        }
        self._client.upsert(self._path, {"metadata": {"name": self._name}, "data": data})

    def record(self, entry: RolloutEntry, say: Callable[[str], None]) -> None:
        """Write the entry of a rollout that ended; one that cannot be written is only reported."""
        try:
            self.write(entry)
        except CapstanError as error:
            say(f"the outcome was not recorded: {error}")


def parse(data: Mapping[str, str]) -> dict[int, RolloutEntry]:
    """The entries in a ConfigMap's data; malformed ones are skipped."""
    found = {}
    for value in data.values():
        try:
            fields = json.loads(value)
            lists = {name: tuple(fields[name]) for name in ("what", "images")}
            entry = RolloutEntry(**{**fields, **lists})
        except (ValueError, TypeError, KeyError):
            continue
        found[entry.revision] = entry
    return found


def timestamp() -> str:
    """The current time as the history stores it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_entry(revision: int, *what: str) -> RolloutEntry:
    """The entry of a rollout that starts now, by this process."""
    return RolloutEntry(revision, holder_name(), timestamp(), what)
