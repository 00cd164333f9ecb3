"""The pods that a Ray cluster wants, and what each of them needs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8s.state.amounts import Amounts, added, requests
from k8s.state.quantity import quantity

Json = Mapping[str, Any]

# What KubeRay asks for the autoscaler beside the head, unless told otherwise.
AUTOSCALER_REQUESTS = {"cpu": "500m", "memory": "512Mi"}


@dataclass(frozen=True, slots=True)
class Want:
    """Pods that are wanted, all alike: a pool's, or the head."""

    group: str
    count: int
    each: Amounts
    spec: Json


def needs(pod_spec: Json) -> Amounts:
    """What a scheduler sets aside for a pod: its containers' sum, or an init container's more."""
    total: Amounts = {}
    for container in pod_spec.get("containers") or []:
        for key, value in requests(container).items():
            total[key] = total.get(key, 0.0) + value
    for container in pod_spec.get("initContainers") or []:
        for key, value in requests(container).items():
            total[key] = max(total.get(key, 0.0), value)
    return total


def limits(pod_spec: Json) -> Amounts:
    """What a pod may use at most: its containers' sum, as quotas on limits count it."""
    containers = pod_spec.get("containers") or []
    return added(
        {k: quantity(v) for k, v in ((c.get("resources") or {}).get("limits") or {}).items()}
        for c in containers
    )


def wants(cluster: Json, *, head: bool = True) -> list[Want]:
    """The pods of a `rayClusterConfig`: the head, and each pool at the number it starts with."""
    found = []
    if head:
        spec = cluster["headGroupSpec"]["template"]["spec"]
        each = needs(spec)
        if cluster.get("enableInTreeAutoscaling"):
            resources = (cluster.get("autoscalerOptions") or {}).get("resources") or {
                "requests": AUTOSCALER_REQUESTS
            }
            for key, value in requests({"resources": resources}).items():
                each[key] = each.get(key, 0.0) + value
        found.append(Want("head", 1, each, spec))
    for group in cluster.get("workerGroupSpecs") or []:
        spec = group["template"]["spec"]
        least, most = group.get("minReplicas") or 0, group.get("maxReplicas", 2**31 - 1)
        count = max(least, min(group.get("replicas") or 0, most))
        found.append(Want(group["groupName"], count, needs(spec), spec))
    return found


def more(before: Json, after: Json) -> list[Want]:
    """The pods that a running cluster gets when its pools grow."""
    had = {w.group: w.count for w in wants(before, head=False)}
    return [
        Want(w.group, w.count - had.get(w.group, 0), w.each, w.spec)
        for w in wants(after, head=False)
        if w.count > had.get(w.group, 0)
    ]
