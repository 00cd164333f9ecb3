"""What a cluster says about a release at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from k8s.state.objects import Event, Pod, Service
from k8s.state.serve import App


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Service, pods, events and Ray clusters. `apps`: Serve's account, of each Ray cluster that answers."""

    service: Service | None
    pods: tuple[Pod, ...] = ()
    events: tuple[Event, ...] = ()
    apps: Mapping[str, tuple[App, ...]] = field(default_factory=dict)
    clusters: tuple[str, ...] = ()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
