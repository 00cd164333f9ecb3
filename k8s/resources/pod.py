"""Pods of a Ray cluster, their containers and images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from k8s.resources.quantity import pod_requests

Json = Mapping[str, Any]

CLUSTER_LABEL = "ray.io/cluster"
ORIGIN_LABEL = "ray.io/originated-from-cr-name"
GPU = "nvidia.com/gpu"
DIGEST = "sha256:"


@dataclass(frozen=True, slots=True)
class Container:
    """A container's state: why it waits, how it ended, how often it restarted."""

    name: str
    image: str
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    message: str = ""
    ended: str = ""
    exit_code: int | None = None
    image_id: str = ""
    init: bool = False


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
        """Parse an API object."""
        meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
        labels = meta.get("labels") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or []}
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
            unschedulable=_unschedulable(conditions.get("PodScheduled", {})),
            gpus=int(pod_requests(spec).get(GPU, 0)),
            reason=status.get("reason", ""),
            containers=_containers(spec, status),
        )


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """An image by its name in the spec and the digest that the node pulled; empty before the pull."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} ({short_digest(self.digest)})" if DIGEST in self.digest else self.name


def short_digest(image: str) -> str:
    """An image's digest, cut to 12 characters; an image without a digest unchanged."""
    _, at, digest = image.rpartition(DIGEST)
    return f"{DIGEST}{digest[:12]}" if at else image


def _unschedulable(condition: Json) -> str:
    """Why the scheduler found no node; empty where it did or has not tried."""
    stuck = condition.get("status") == "False" and condition.get("reason") == "Unschedulable"
    return str(condition.get("message", "no reason given")) if stuck else ""


def _containers(spec: Json, status: Json) -> tuple[Container, ...]:
    specs = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    images = {c["name"]: c.get("image", "") for c in specs}
    statuses = [(c, True) for c in status.get("initContainerStatuses") or []]
    statuses += [(c, False) for c in status.get("containerStatuses") or []]
    return tuple(_container(c, images, init=init) for c, init in statuses)


def _container(found: Json, images: Mapping[str, str], *, init: bool) -> Container:
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
        init=init,
    )
