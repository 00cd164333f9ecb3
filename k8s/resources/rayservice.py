"""RayServices: their status, the Serve config inside them, and the pods that their Ray cluster needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

from k8s.resources.quantity import Amounts, add, container_requests, pod_requests

# KubeRay's requests for the autoscaler's container in the head pod, unless the spec sets others.
AUTOSCALER_REQUESTS = {"cpu": "500m", "memory": "512Mi"}
Json = Mapping[str, Any]
EMBEDDED = "embedded"
INCREMENTAL = "NewClusterWithIncrementalUpgrade"


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


@dataclass(frozen=True, slots=True)
class RayService:
    """A RayService's status. `active` and `pending` are names of RayClusters, empty where there is none."""

    name: str
    generation: int
    observed_generation: int
    active: str
    pending: str
    ready: bool

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse an API object."""
        status = found.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
        return cls(
            name=found["metadata"]["name"],
            generation=found["metadata"].get("generation", 0),
            observed_generation=status.get("observedGeneration", 0),
            active=active_cluster(found),
            pending=pending_cluster(found),
            ready=conditions.get("Ready") == "True",
        )


def active_cluster(service: Json | None) -> str:
    """The name of the RayCluster that serves a RayService now; empty where there is none."""
    return _cluster_name(service, "activeServiceStatus")


def pending_cluster(service: Json | None) -> str:
    """The name of the RayCluster that is to take over; empty where there is none."""
    return _cluster_name(service, "pendingServiceStatus")


def upgrades_incrementally(service: Json | None) -> bool:
    """Whether KubeRay moves the traffic of a RayService to a new cluster, and back, step by step."""
    strategy = ((service or {}).get("spec") or {}).get("upgradeStrategy") or {}
    return bool(strategy.get("type") == INCREMENTAL)


def serve_applications(service: Json) -> dict[str, Json]:
    """The applications in a RayService's `serveConfigV2`, by name."""
    found = serve_config(service).get("applications") or []
    return {app.get("name", "default"): app for app in found}


def serve_config(service: Json) -> Json:
    """A RayService's `serveConfigV2`, parsed."""
    return yaml.safe_load((service.get("spec") or {}).get("serveConfigV2") or "") or {}


def replica_bounds(app: Json) -> dict[str, tuple[int, int]]:
    """The minimum and maximum number of replicas of each deployment that an application's config names."""
    found = {}
    for deployment in app.get("deployments") or []:
        scaling = deployment.get("autoscaling_config") or {}
        fixed = deployment.get("num_replicas")
        if scaling or fixed == "auto":
            maximum = scaling.get("max_replicas", 100 if fixed == "auto" else 1)
            found[deployment["name"]] = (int(scaling.get("min_replicas", 1)), int(maximum))
        else:
            found[deployment["name"]] = (int(fixed or 1), int(fixed or 1))
    return found


def is_embedded(app: Json) -> bool:
    """Whether an application serves the embedded model, whose answer to the known image is known."""
    arguments = app.get("args") or {}
    environment = (app.get("runtime_env") or {}).get("env_vars") or {}
    return str(arguments.get("model") or environment.get("CAPSTAN_MODEL") or EMBEDDED) == EMBEDDED


def _head_demand(cluster: Json) -> PodDemand:
    spec = cluster["headGroupSpec"]["template"]["spec"]
    each = pod_requests(spec)
    if cluster.get("enableInTreeAutoscaling"):
        default = {"requests": AUTOSCALER_REQUESTS}
        resources = (cluster.get("autoscalerOptions") or {}).get("resources") or default
        each = add([each, container_requests({"resources": resources})])
    return PodDemand("head", 1, each, spec)


def _cluster_name(service: Json | None, side: str) -> str:
    status = (service or {}).get("status") or {}
    return str((status.get(side) or {}).get("rayClusterName") or "")
