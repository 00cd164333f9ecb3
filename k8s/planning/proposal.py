"""What a deploy would do, and whether the cluster has the capacity for it."""

from dataclasses import dataclass
from typing import Any

from k8s.errors import RefusedError
from k8s.planning.capacity import CapacityReport
from k8s.planning.effects import same_cluster
from k8s.planning.plan import Effect, Plan
from k8s.resources.rayservice import pending_cluster, shrinking_pools

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
    warnings: tuple[str, ...] = ()

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


def check_proposal(proposal: Proposal, *, replace: bool) -> None:
    """Raise RefusedError where a rollout would delete pods at random, or cannot finish as pods do not fit."""
    _check_pools(proposal)
    _check_capacity(proposal, replace=replace)


def _check_pools(proposal: Proposal) -> None:
    """KubeRay adds a pool by replacing the whole spec of the running cluster, pod counts included."""
    effects = {change.effect for change in proposal.plan.changes}
    if proposal.ray_cluster is None or proposal.new_cluster or Effect.CLUSTER_UPDATE not in effects:
        return
    wanted = proposal.after["spec"]["rayClusterConfig"]
    shrinking = shrinking_pools(proposal.ray_cluster["spec"], wanted)
    if shrinking:
        pools = ", ".join(f"pool {name} from {old} to {new} pods" for name, (old, new) in shrinking.items())
        raise RefusedError(
            f"KubeRay would reduce {pools} while it adds a pool, and delete random pods. Nothing was "
            "changed. Make two deploys: add the pool with the other pools at their size, then reduce them"
        )


def _check_capacity(proposal: Proposal, *, replace: bool) -> None:
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
