"""Everything the cluster says about a release at one moment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from k8s.resources.pod import Pod
from k8s.resources.rayservice import RayService
from k8s.resources.serve import ServeApplication

JOB_LABEL = "batch.kubernetes.io/job-name"
NAME_PART = "-download-"
# The init container of worker pods that waits for the Job, and the Job's own container.
WAIT_CONTAINER = "wait-for-models"
CONTAINER = "download"
LOG_PREFIX = re.compile(r"^[\d-]+ [\d:,]+ [A-Z]+ ")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """A Job that is not complete: its failed attempts, why it gave up, its pods and the last log line."""

    name: str
    failures: int
    gave_up: str
    pods: tuple[Pod, ...] = ()
    log: str = ""

    @classmethod
    def from_api(cls, found: Json, pods: tuple[Pod, ...], log: str) -> Self:
        """Parse an API object, with the Job's pods, oldest first, and the newest one's last log line."""
        status = found.get("status") or {}
        failed = [c for c in status.get("conditions") or [] if (c["type"], c["status"]) == ("Failed", "True")]
        reasons = [c.get("message") or c.get("reason") or "no reason given" for c in failed]
        return cls(
            name=found["metadata"]["name"],
            failures=int(status.get("failed") or 0),
            gave_up=reasons[0] if reasons else "",
            pods=pods,
            log=LOG_PREFIX.sub("", log),
        )

    @property
    def progress(self) -> str:
        """How far it is, or the last error."""
        last = self.log or "nothing logged yet"
        if self.failures:
            return f"the download of models failed {self.failures} times: {last}"
        return f"downloading models: {last}"


def waits_for_download(pod: Pod) -> bool:
    """Whether a worker pod still waits for the models."""
    return any(c.init and c.name == WAIT_CONTAINER and not c.ready for c in pod.containers)


def newest_download(jobs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest download Job among Jobs, if it is not complete."""
    found = [
        j for j in jobs if NAME_PART in j["metadata"]["name"] and not j["metadata"].get("deletionTimestamp")
    ]
    newest = max(found, key=lambda j: str(j["metadata"].get("creationTimestamp")), default=None)
    return None if newest is None or (newest.get("status") or {}).get("succeeded") else newest


@dataclass(frozen=True, slots=True)
class Event:
    """An event about an object of the release."""

    kind: str
    name: str
    type: str
    reason: str
    message: str
    last: str

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse an API object of either events API."""
        about = found.get("involvedObject") or found.get("regarding") or {}
        series = found.get("series") or {}
        last = (
            series.get("lastObservedTime")
            or found.get("lastTimestamp")
            or found.get("eventTime")
            or found["metadata"].get("creationTimestamp", "")
        )
        return cls(
            kind=about.get("kind", ""),
            name=about.get("name", ""),
            type=found.get("type", ""),
            reason=found.get("reason", ""),
            message=(found.get("message") or found.get("note") or "").strip(),
            last=last or "",
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The RayService, its RayClusters by name, their pods and events, and Serve's status of each cluster."""

    service: RayService | None
    pods: tuple[Pod, ...] = ()
    events: tuple[Event, ...] = ()
    apps: Mapping[str, tuple[ServeApplication, ...]] = field(default_factory=dict)
    ray_clusters: tuple[str, ...] = ()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    download: DownloadJob | None = None
    """The Job that downloads models, unless it is complete."""
