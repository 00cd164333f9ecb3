"""Everything the cluster says about a release at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from k8s.resources.job import DownloadJob
from k8s.resources.pod import Pod
from k8s.resources.rayservice import RayService
from k8s.resources.serve import ServeApplication

Json = Mapping[str, Any]


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
