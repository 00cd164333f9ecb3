"""The nodes that a cluster autoscaler or Karpenter may still add for pods that find no room. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s.rules.nodes import Room, bears, empty, matches, place, takes
from k8s.rules.wants import Want
from k8s.state.amounts import SLACK, Amounts, amount, counted, subtract
from k8s.state.autoscaler import NodeGroup, Report
from k8s.state.karpenter import NodePool

Json = Mapping[str, Any]

# Labels whose value names the node group, or is a part of its name.
GROUP_LABELS = (
    "eks.amazonaws.com/nodegroup",
    "alpha.eksctl.io/nodegroup-name",
    "kubernetes.azure.com/agentpool",
    "doks.digitalocean.com/node-pool",
)
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Karpenter gives these labels by itself, as the cloud has them.
KNOWN_LABELS = re.compile(r"(^|\.)(kubernetes\.io|k8s\.io|k8s\.aws|karpenter\.sh|karpenter\.azure\.com)/")


@dataclass(slots=True)
class Group:
    """A node group, what a new node of it would be (None: nobody can see), and the nodes it would get."""

    group: NodeGroup
    fresh: Room | None
    opened: list[Room] = field(default_factory=list)
    asked: bool = False

    def place(self, want: Want) -> bool:
        """Take one pod, on a node that would be added; False where there can be none for it."""
        if self.fresh is None or not takes(self.fresh, want.spec) or not self.fresh.has_room(want.each):
            return False
        self.asked = True
        if place(want.each, self.opened):
            return True
        if len(self.opened) >= self.group.spare:
            return False
        self.opened.append(self.fresh.copy())
        self.opened[-1].take(want.each)
        return True

    def line(self) -> str:
        """What it would add, or why it adds nothing."""
        group, more = self.group, len(self.opened)
        has = f"node group {group.name} has {group.target} of at most {counted(group.most, 'node')}"
        if group.backoff:
            return f"{has}, and gets none for now ({group.backoff})"
        return f"{has}, and would get {more} more" if more else has


@dataclass(slots=True)
class Pool:
    """A NodePool, and what is left of its limits."""

    pool: NodePool
    left: Amounts
    pods: int = 0
    asked: bool = False

    def place(self, want: Want) -> bool:
        """Take one pod; False where the pool makes no node for it, or not within its limits."""
        pool = self.pool
        if pool.static or not pool.ready or not bears(want.spec, pool.taints) or not self._offers(want.spec):
            return False
        self.asked = True
        if self.left.get("nodes", 1.0) < 1 or any(
            self.left[k] + SLACK < v for k, v in want.each.items() if k in self.left
        ):
            return False
        subtract(self.left, want.each)
        self.pods += 1
        return True

    def line(self) -> str:
        """What it would add, and its limits."""
        limits = self.pool.limits
        said = ", ".join(
            f"{amount(k, self.pool.used.get(k, 0))} of at most {amount(k, v)}" for k, v in limits.items()
        )
        would = f"NodePool {self.pool.name} would get nodes for {counted(self.pods, 'pod')} more"
        return f"{would}; it has {said or 'no limit'}"

    def _offers(self, spec: Json) -> bool:
        """Whether its nodes could have the labels that a pod selects. Affinity is left to Karpenter."""
        known = {r["key"]: r for r in self.pool.requirements}
        for key, value in (spec.get("nodeSelector") or {}).items():
            if key in self.pool.labels:
                if self.pool.labels[key] != value:
                    return False
            elif key in known:
                if not matches({key: value}, known[key]):
                    return False
            elif not KNOWN_LABELS.search(key):
                return False
        return True


@dataclass(slots=True)
class Growth:
    """All that may add nodes."""

    sources: Sequence[Group | Pool] = ()
    unknown: tuple[str, ...] = ()
    """What may help, though nobody can say how far."""
    useless: tuple[str, ...] = ()
    """What would be expected to help, and why it will not."""

    def place(self, want: Want) -> bool:
        """Take one pod that found no room."""
        return any(source.place(want) for source in self.sources)

    def lines(self) -> list[str]:
        """What each source would add, of those that pods turned to."""
        return [source.line() for source in self.sources if source.asked]


def growth(report: Report, pools: Iterable[NodePool], nodes: Sequence[Json], pods: Sequence[Json]) -> Growth:
    """What may grow: by the cluster autoscaler's report, and by Karpenter's pools."""
    owned = owners(report.groups, nodes)
    sources: list[Group | Pool] = []
    unknown = [report.unknown] if report.unknown else []
    for group in report.groups:
        fresh = empty(owned[group.name], pods) if group.name in owned else None
        sources.append(Group(group, fresh))
        if fresh is None and group.spare:
            unknown.append(
                f"node group {group.name} has no node now, so nobody can see what its nodes would be; "
                f"it may get {group.spare}"
            )
    for pool in pools:
        left = {k: v - pool.used.get(k, 0.0) for k, v in pool.limits.items()}
        sources.append(Pool(pool, left))
    return Growth(sources, tuple(unknown), (report.gone,) if report.gone else ())


def owners(groups: Sequence[NodeGroup], nodes: Sequence[Json]) -> dict[str, Json]:
    """A node of each group that has one, known by its name or its labels; of two names the longer counts."""
    found: dict[str, Json] = {}
    for node in nodes:
        mine = [g.name for g in groups if _belongs(node, _base(g.name))]
        if mine:
            found.setdefault(max(mine, key=len), node)
    # A regional pool of GKE is a group a zone; one without a node is like its sisters.
    for group in groups:
        sister = next((n for n in found if "/instanceGroups/" in n and _kin(n) == _kin(group.name)), None)
        if group.name not in found and sister is not None:
            found[group.name] = found[sister]
    return found


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix("-grp")


def _kin(name: str) -> str:
    return _base(name).rpartition("-")[0]


def _belongs(node: Json, base: str) -> bool:
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    if name.startswith(f"{base}-") or (base.endswith("vmss") and name.startswith(base)):
        return True
    for value in (labels[k] for k in GROUP_LABELS if k in labels):
        said = re.escape(value)
        if re.fullmatch(rf"{said}|eks-{said}-{UUID}|eksctl-.*-nodegroup-{said}-NodeGroup-\w+", base):
            return True
    return False
