"""The nodes of a cluster: which pods each would take, and what is free on it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from k8s.rules.wants import needs
from k8s.state.amounts import GPU_RESOURCES, SLACK, Amounts, subtract
from k8s.state.quantity import quantity

Json = Mapping[str, Any]

BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(slots=True)
class Room:
    """A node and what is free on it."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Json]
    free: Amounts
    total: Amounts

    def has_room(self, each: Mapping[str, float]) -> bool:
        """Whether one more pod with these needs fits."""
        return self.free.get("pods", 1.0) >= 1 and all(
            self.free.get(k, 0.0) + SLACK >= v for k, v in each.items() if v
        )

    def copy(self) -> Self:
        """The same node, with a count of its own."""
        return replace(self, free=dict(self.free))

    def take(self, each: Mapping[str, float]) -> None:
        """Take a pod's needs from what is free."""
        subtract(self.free, {**each, "pods": 1.0})


def rooms(nodes: Iterable[Json], pods: Iterable[Json]) -> list[Room]:
    """The nodes that take pods, each with what the pods on it leave free."""
    found = {}
    for node in nodes:
        ready = any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in node.get("status", {}).get("conditions") or []
        )
        if not ready or node.get("spec", {}).get("unschedulable"):
            continue
        found[node["metadata"]["name"]] = _room(node)
    for pod in pods:
        room = found.get((pod.get("spec") or {}).get("nodeName", ""))
        if room is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        room.take(needs(pod["spec"]))
    return list(found.values())


def empty(node: Json, pods: Iterable[Json]) -> Room:
    """What a new node like this one would be: only what DaemonSets run on it is taken."""
    room = _room(node)
    for pod in pods:
        owners = pod.get("metadata", {}).get("ownerReferences") or []
        if pod["spec"].get("nodeName") == room.name and any(o["kind"] == "DaemonSet" for o in owners):
            room.take(needs(pod["spec"]))
    return room


def place(each: Mapping[str, float], among: Iterable[Room]) -> bool:
    """Take one pod's needs from the first node that has room for them; False where none has."""
    for room in among:
        if room.has_room(each):
            room.take(each)
            return True
    return False


def takes(room: Room, pod_spec: Json) -> bool:
    """Whether a node's labels and taints let a pod in, however full it is."""
    selector = pod_spec.get("nodeSelector") or {}
    if any(room.labels.get(k) != v for k, v in selector.items()):
        return False
    return bears(pod_spec, room.taints) and _affine(room, pod_spec)


def bears(pod_spec: Json, taints: Iterable[Json]) -> bool:
    """Whether a pod tolerates the taints that would keep it off a node."""
    tolerations = pod_spec.get("tolerations") or []
    return all(
        taint.get("effect") not in BLOCKING or any(_tolerates(t, taint) for t in tolerations)
        for taint in taints
    )


def gpus(free: Iterable[Room]) -> dict[str, tuple[int, int]]:
    """Free and allocatable GPUs, by resource."""
    found: dict[str, tuple[int, int]] = {}
    for room in free:
        for key in GPU_RESOURCES:
            if key in room.total:
                left, total = found.get(key, (0, 0))
                found[key] = (left + int(room.free[key]), total + int(room.total[key]))
    return found


def _room(node: Json) -> Room:
    meta = node["metadata"]
    total = {k: quantity(v) for k, v in (node["status"].get("allocatable") or {}).items()}
    return Room(meta["name"], meta.get("labels") or {}, node["spec"].get("taints") or [], dict(total), total)


def _affine(room: Room, pod_spec: Json) -> bool:
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    if not terms:
        return True
    return any(
        all(matches(room.labels, e) for e in t.get("matchExpressions") or [])
        and all(matches({"metadata.name": room.name}, e) for e in t.get("matchFields") or [])
        for t in terms
    )


def matches(  # noqa: PLR0911 - one for each operator there is
    labels: Mapping[str, str], expression: Json
) -> bool:
    """Whether labels are what an expression of a node selector asks for."""
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
    return False


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
    )
