"""The nodes of a cluster: which pods each accepts, and what is free on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from k8s.resources.quantity import GPU_RESOURCES, SLACK, Amounts, pod_requests, quantity, subtract

Json = Mapping[str, Any]

BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(slots=True)
class NodeCapacity:
    """A node, its allocatable resources and those that are free."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Json]
    free: Amounts
    total: Amounts

    def fits(self, each: Mapping[str, float]) -> bool:
        """Whether one more pod with these requests fits."""
        return self.free.get("pods", 1.0) >= 1 and all(
            self.free.get(k, 0.0) + SLACK >= v for k, v in each.items() if v
        )

    def copy(self) -> Self:
        """The same node with its own count of free resources."""
        return replace(self, free=dict(self.free))

    def reserve(self, each: Mapping[str, float]) -> None:
        """Subtract a pod's requests from the free resources."""
        subtract(self.free, {**each, "pods": 1.0})


def free_resources(nodes: Iterable[Json], pods: Iterable[Json]) -> list[NodeCapacity]:
    """The schedulable nodes, each with what its pods leave free."""
    found = {node["metadata"]["name"]: _empty_node(node) for node in nodes if _is_schedulable(node)}
    for pod in pods:
        node = found.get((pod.get("spec") or {}).get("nodeName", ""))
        if node is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        node.reserve(pod_requests(pod["spec"]))
    return list(found.values())


def new_node_like(node: Json, pods: Iterable[Json]) -> NodeCapacity:
    """A new node of the same kind: empty but for the pods of DaemonSets."""
    found = _empty_node(node)
    for pod in pods:
        owners = pod.get("metadata", {}).get("ownerReferences") or []
        if pod["spec"].get("nodeName") == found.name and any(o["kind"] == "DaemonSet" for o in owners):
            found.reserve(pod_requests(pod["spec"]))
    return found


def place(each: Mapping[str, float], among: Iterable[NodeCapacity]) -> bool:
    """Reserve one pod's requests on the first node with enough free; False where there is none."""
    for node in among:
        if node.fits(each):
            node.reserve(each)
            return True
    return False


def accepts(node: NodeCapacity, pod_spec: Json) -> bool:
    """Whether a node's labels and taints allow a pod, however full the node is."""
    selector = pod_spec.get("nodeSelector") or {}
    if any(node.labels.get(k) != v for k, v in selector.items()):
        return False
    return tolerates(pod_spec, node.taints) and _matches_affinity(node, pod_spec)


def tolerates(pod_spec: Json, taints: Iterable[Json]) -> bool:
    """Whether a pod tolerates every taint that would keep it off a node."""
    tolerations = pod_spec.get("tolerations") or []
    return all(
        taint.get("effect") not in BLOCKING or any(_tolerates_taint(t, taint) for t in tolerations)
        for taint in taints
    )


def count_gpus(nodes: Iterable[NodeCapacity]) -> dict[str, tuple[int, int]]:
    """Free and allocatable GPUs, by resource."""
    found: dict[str, tuple[int, int]] = {}
    for node in nodes:
        for key in GPU_RESOURCES:
            if key in node.total:
                free, total = found.get(key, (0, 0))
                found[key] = (free + int(node.free[key]), total + int(node.total[key]))
    return found


def matches_expression(  # noqa: PLR0911 - one for each operator
    labels: Mapping[str, str], expression: Json
) -> bool:
    """Whether labels match an expression of a node selector."""
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


def _is_schedulable(node: Json) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not node.get("spec", {}).get("unschedulable")


def _empty_node(node: Json) -> NodeCapacity:
    meta = node["metadata"]
    total = {k: quantity(v) for k, v in (node["status"].get("allocatable") or {}).items()}
    labels, taints = meta.get("labels") or {}, node["spec"].get("taints") or []
    return NodeCapacity(meta["name"], labels, taints, dict(total), total)


def _matches_affinity(node: NodeCapacity, pod_spec: Json) -> bool:
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    if not terms:
        return True
    return any(
        all(matches_expression(node.labels, e) for e in t.get("matchExpressions") or [])
        and all(matches_expression({"metadata.name": node.name}, e) for e in t.get("matchFields") or [])
        for t in terms
    )


def _tolerates_taint(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
    )
