"""What a deploy would do, and whether there is room for it. Pure."""

from dataclasses import dataclass
from typing import Any

from k8s.errors import RefusedError
from k8s.rules.change import Plan
from k8s.rules.headroom import Account
from k8s.rules.ray_cluster import same_cluster

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a deploy would do: the plan, the RayService before and after, and the room there is for it."""

    plan: Plan
    before: Json | None
    after: Json
    cluster: Json | None
    objects: tuple[str, ...]
    """Other objects that would change."""
    account: Account | None

    @property
    def name(self) -> str:
        """The RayService's name."""
        return str(self.after["metadata"]["name"])

    @property
    def new_cluster(self) -> bool:
        """Whether a second cluster starts: not where the spec only returns to the cluster that serves."""
        wanted = self.after["spec"]["rayClusterConfig"]
        returns = self.cluster is not None and same_cluster(self.cluster["spec"], wanted)
        return self.plan.new_cluster and not returns

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.plan.first or bool(self.plan.changes) or bool(self.objects)

    @property
    def settled(self) -> bool:
        """Whether no cluster is pending that a former rollout started."""
        status = (self.before or {}).get("status") or {}
        return not (status.get("pendingServiceStatus") or {}).get("rayClusterName")

    def what(self) -> list[str]:
        """The changes, as the history keeps them."""
        if self.plan.first:
            return ["first installation"]
        return [c.line() for c in self.plan.changes] or list(self.objects)


def check_room(proposal: Proposal, *, replace: bool) -> None:
    """Raise RefusedError where a rollout could not finish for want of room."""
    account = proposal.account
    if account is None or account.fits or replace:
        return
    numbers = "; ".join(account.lines())
    if proposal.plan.first or not proposal.new_cluster:
        raise RefusedError(
            f"not enough room: {numbers}; add nodes, or ask for fewer replicas. Nothing was changed"
        )
    raise RefusedError(
        f"a second cluster does not fit beside the first: {numbers}. Nothing was changed. Either add nodes, "
        "or scale down first (capstan scale), or accept that nothing serves meanwhile (--strategy replace), "
        "or upgrade in steps (upgradeStrategy.type=NewClusterWithIncrementalUpgrade, which needs a Gateway "
        "and autoscaling)"
    )
