"""The pods of a Ray cluster, and the resources that each needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8s.resources.amounts import Amounts, add, container_requests, pod_requests

Json = Mapping[str, Any]

# KubeRay's requests for the autoscaler's container in the head pod, unless the spec sets others.
AUTOSCALER_REQUESTS = {"cpu": "500m", "memory": "512Mi"}


@dataclass(frozen=True, slots=True)
class PodDemand:
    """A number of identical pods to be placed: a pool's, or the head."""

    group: str
    count: int
    each: Amounts
    spec: Json


def pod_demand(cluster: Json, *, head: bool = True) -> list[PodDemand]:
    """The pods of a `rayClusterConfig`: the head, and each pool at the number it starts with."""
    found = [_head_demand(cluster)] if head else []
    for group in cluster.get("workerGroupSpecs") or []:
        spec = group["template"]["spec"]
        found.append(PodDemand(group["groupName"], initial_replicas(group), pod_requests(spec), spec))
    return found


def worker_counts(cluster: Json) -> dict[str, int]:
    """How many worker pods each pool of a `rayClusterConfig` starts with."""
    return {demand.group: demand.count for demand in pod_demand(cluster, head=False)}


def added_demand(before: Json, after: Json) -> list[PodDemand]:
    """The pods that a running cluster adds when its pools grow."""
    had = worker_counts(before)
    return [
        PodDemand(d.group, d.count - had.get(d.group, 0), d.each, d.spec)
        for d in pod_demand(after, head=False)
        if d.count > had.get(d.group, 0)
    ]


def shrinking_pools(before: Json, after: Json) -> dict[str, tuple[int, int]]:
    """The pools of a running cluster that would start with fewer pods, with both numbers."""
    wanted = worker_counts(after)
    return {
        d.group: (d.count, wanted[d.group])
        for d in pod_demand(before, head=False)
        if wanted.get(d.group, d.count) < d.count
    }


def initial_replicas(group: Json) -> int:
    """The number of pods that a pool starts with: `replicas` within its bounds, as KubeRay clamps it."""
    least, most = group.get("minReplicas") or 0, group.get("maxReplicas", 2**31 - 1)
    return int(max(least, min(group.get("replicas") or 0, most)))


def _head_demand(cluster: Json) -> PodDemand:
    spec = cluster["headGroupSpec"]["template"]["spec"]
    each = pod_requests(spec)
    if cluster.get("enableInTreeAutoscaling"):
        default = {"requests": AUTOSCALER_REQUESTS}
        resources = (cluster.get("autoscalerOptions") or {}).get("resources") or default
        each = add([each, container_requests({"resources": resources})])
    return PodDemand("head", 1, each, spec)
