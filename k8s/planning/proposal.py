"""What a deploy would do, and whether the cluster has the capacity for it."""

from dataclasses import dataclass
from typing import Any

from k8s.errors import RefusedError
from k8s.planning.capacity import CapacityReport
from k8s.planning.plan import Plan
from k8s.planning.ray_cluster import same_cluster
from k8s.resources.rayservice import pending_cluster

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The plan, the RayService before and after, the RayCluster that serves, and the capacity."""

    plan: Plan
    before: Json | None
    after: Json
    ray_cluster: Json | None
    objects: tuple[str, ...]
    """Other objects that would change."""
    capacity: CapacityReport | None
    """None where this account may not list nodes."""

    @property
    def name(self) -> str:
        """The RayService's name."""
        return str(self.after["metadata"]["name"])

    @property
    def new_cluster(self) -> bool:
        """Whether a second cluster starts: not where the spec returns to the cluster that serves."""
        wanted = self.after["spec"]["rayClusterConfig"]
        returns = self.ray_cluster is not None and same_cluster(self.ray_cluster["spec"], wanted)
        return self.plan.new_cluster and not returns

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.plan.first or bool(self.plan.changes) or bool(self.objects)

    @property
    def settled(self) -> bool:
        """Whether no earlier rollout left a pending cluster."""
        return not pending_cluster(self.before)

    def summary(self) -> list[str]:
        """The changes, as the history stores them."""
        if self.plan.first:
            return ["first installation"]
        return [c.line() for c in self.plan.changes] or list(self.objects)


def check_capacity(proposal: Proposal, *, replace: bool) -> None:
    """Raise RefusedError where a rollout cannot finish because pods do not fit."""
    capacity = proposal.capacity
    if capacity is None or capacity.fits or replace:
        return
    numbers = "; ".join(capacity.lines())
    if proposal.plan.first or not proposal.new_cluster:
        raise RefusedError(
            f"not enough capacity: {numbers}. Nothing was changed. Add nodes or deploy fewer replicas"
        )
    raise RefusedError(
        f"a second cluster does not fit next to the first: {numbers}. Nothing was changed. Add nodes, "
        "scale down first (capstan scale), accept downtime (--strategy replace), or upgrade in steps "
        "(upgradeStrategy.type=NewClusterWithIncrementalUpgrade, which needs a Gateway and autoscaling)"
    )
