"""The state that a rollout works towards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from k8s.planning.failures import SCHEDULING_GRACE_S
from k8s.planning.pod_demand import worker_counts
from k8s.planning.proposal import Proposal
from k8s.resources.rayservice import serve_applications

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """These applications, at this generation, on a new cluster or the old one."""

    generation: int
    configs: Mapping[str, Json]
    new_cluster: bool = False
    old_cluster: str = ""
    deployed_before: Mapping[str, float] = field(default_factory=dict)
    """When Serve last deployed each application before the change, in Serve's own time."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """How many worker pods each pool must have; other pools can have any number."""
    placeable_since: datetime | None = None
    """When the old cluster's pods were gone, where it is deleted first; before, no pod could be placed."""
    scheduling_grace_s: float = SCHEDULING_GRACE_S
    """How long a pod may be without a node that fits."""
    ignore_failures: bool = False
    """Whether to wait until the deadline whatever fails."""


def target_of(proposal: Proposal, generation: int, deployed: Mapping[str, float]) -> Target:
    """The target of a proposal that is stored as that generation."""
    changed = {c.models[0] for c in proposal.plan.changes if len(c.models) == 1}
    return Target(
        generation=generation,
        configs=serve_applications(proposal.after),
        new_cluster=proposal.new_cluster,
        old_cluster=proposal.ray_cluster["metadata"]["name"] if proposal.ray_cluster else "",
        deployed_before={name: at for name, at in deployed.items() if name in changed},
    )


def fixed_pools(service: Json) -> dict[str, int]:
    """How many worker pods each pool of a RayService has; empty where Ray's autoscaler decides."""
    cluster = service["spec"]["rayClusterConfig"]
    if cluster.get("enableInTreeAutoscaling"):
        return {}
    return worker_counts(cluster)
