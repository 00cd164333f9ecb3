"""What the helper reads of Kubernetes objects: frozen values, made from objects as the API gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Json = Mapping[str, Any]

CLUSTER_LABEL = "ray.io/cluster"
ORIGIN_LABEL = "ray.io/originated-from-cr-name"
GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Application:
    """A Serve application's state as KubeRay last heard it."""

    name: str
    status: str
    message: str = ""
    deployments: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """The active or the pending cluster in a RayService's status."""

    cluster: str
    applications: tuple[Application, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A RayService."""

    name: str
    generation: int
    observed: int
    active: Side | None
    pending: Side | None
    ready: bool
    conditions: tuple[tuple[str, str, str, str], ...] = ()

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """The RayService in an API object."""
        status = found.get("status") or {}
        conditions = tuple(
            (c["type"], c["status"], c.get("reason", ""), c.get("message", ""))
            for c in status.get("conditions") or []
        )
        return cls(
            name=found["metadata"]["name"],
            generation=found["metadata"].get("generation", 0),
            observed=status.get("observedGeneration", 0),
            active=_side(status.get("activeServiceStatus")),
            pending=_side(status.get("pendingServiceStatus")),
            ready=any(c[0] == "Ready" and c[1] == "True" for c in conditions),
            conditions=conditions,
        )


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod: what it waits for, how it ended, how often it was restarted."""

    name: str
    image: str
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    message: str = ""
    ended: str = ""
    exit_code: int | None = None
    image_id: str = ""
    first: bool = False
    """Whether it is an init container."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a Ray cluster."""

    name: str
    cluster: str
    group: str
    head: bool
    phase: str
    ready: bool
    node: str
    ip: str
    deleting: bool
    created: str
    unschedulable: str
    gpus: int
    reason: str
    containers: tuple[Container, ...] = ()

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """The pod in an API object."""
        meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
        labels = meta.get("labels") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or []}
        scheduled = conditions.get("PodScheduled", {})
        stuck = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        images = {c["name"]: c.get("image", "") for c in _containers(spec, "initContainers", "containers")}
        statuses = [(c, True) for c in status.get("initContainerStatuses") or []]
        statuses += [(c, False) for c in status.get("containerStatuses") or []]
        return cls(
            name=meta["name"],
            cluster=labels.get(CLUSTER_LABEL, ""),
            group=labels.get("ray.io/group", ""),
            head=labels.get("ray.io/node-type") == "head",
            phase=status.get("phase", ""),
            ready=conditions.get("Ready", {}).get("status") == "True",
            node=spec.get("nodeName", ""),
            ip=status.get("podIP", ""),
            deleting=bool(meta.get("deletionTimestamp")),
            created=meta.get("creationTimestamp", ""),
            unschedulable=scheduled.get("message", "no reason given") if stuck else "",
            gpus=requested(spec, GPU),
            reason=status.get("reason", ""),
            containers=tuple(_container(c, images, first=first) for c, first in statuses),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """An event about an object of this release."""

    kind: str
    name: str
    type: str
    reason: str
    message: str
    last: str

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """The event in an API object, of either events API."""
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


def requested(pod_spec: Json, resource: str) -> int:
    """How much of an extended resource a pod takes: its containers' sum, or an init container's more."""
    steady = sum(_amount(c, resource) for c in _containers(pod_spec, "containers"))
    first = max((_amount(c, resource) for c in _containers(pod_spec, "initContainers")), default=0)
    return max(steady, first)


def _containers(spec: Json, *kinds: str) -> list[Json]:
    return [c for kind in kinds for c in spec.get(kind) or []]


def _amount(container: Json, resource: str) -> int:
    resources = container.get("resources") or {}
    found = (resources.get("limits") or {}).get(resource) or (resources.get("requests") or {}).get(resource)
    return int(found or 0)


def _side(found: Json | None) -> Side | None:
    name = (found or {}).get("rayClusterName")
    if not found or not name:
        return None
    applications = tuple(
        Application(
            app,
            said.get("status", ""),
            said.get("message", ""),
            tuple(
                (d, s.get("status", ""), s.get("message", ""))
                for d, s in (said.get("serveDeploymentStatuses") or {}).items()
            ),
        )
        for app, said in (found.get("applicationStatuses") or {}).items()
    )
    return Side(name, applications)


def _container(found: Json, images: Mapping[str, str], *, first: bool) -> Container:
    state, last = found.get("state") or {}, found.get("lastState") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    return Container(
        name=found["name"],
        image=images.get(found["name"], found.get("image", "")),
        ready=bool(found.get("ready")),
        restarts=found.get("restartCount", 0),
        waiting=waiting.get("reason", ""),
        message=waiting.get("message", ""),
        ended=ended.get("reason", ""),
        exit_code=ended.get("exitCode"),
        image_id=found.get("imageID", ""),
        first=first,
    )
