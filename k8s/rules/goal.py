"""What a rollout wants to see: applications, at a generation, on a new cluster or the old one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from k8s.rules.proposal import Proposal
from k8s.rules.wants import wants
from k8s.state.serve import config_of

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A rollout's end: these applications, at this generation, on a new cluster or the old one."""

    generation: int
    configs: Mapping[str, Json]
    new_cluster: bool = False
    old_cluster: str = ""
    deployed_before: Mapping[str, float] = field(default_factory=dict)
    """When Serve last took each application's config before the change, in Serve's own time."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """How many worker pods each pool must have; pools that are not named may have any number."""
    room_since: datetime | None = None
    """When the old cluster had made room, where it went first; before that no pod could be placed."""
    patient: bool = False
    """Whether to wait until the deadline whatever fails."""


def goal_of(proposal: Proposal, generation: int, deployed: Mapping[str, float]) -> Goal:
    """What must be seen for a proposal to be done, once it is stored as that generation."""
    old = proposal.cluster["metadata"]["name"] if proposal.cluster else ""
    changed = {c.models[0] for c in proposal.plan.changes if len(c.models) == 1}
    return Goal(
        generation=generation,
        configs=config_of(proposal.after),
        new_cluster=proposal.new_cluster,
        old_cluster=old,
        deployed_before={n: at for n, at in deployed.items() if n in changed},
    )


def pools_of(service: Json) -> dict[str, int]:
    """How many worker pods each pool of a RayService has, where that number is fixed."""
    cluster = service["spec"]["rayClusterConfig"]
    if cluster.get("enableInTreeAutoscaling"):
        return {}
    return {want.group: want.count for want in wants(cluster, head=False)}
