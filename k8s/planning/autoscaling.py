"""The nodes that a cluster autoscaler or Karpenter can add for pods that fit on no node."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s.planning.nodes import (
    NodeCapacity,
    accepts,
    matches_expression,
    new_node_like,
    place,
    tolerates,
)
from k8s.resources.node_provisioners import AutoscalerStatus, NodeGroup, NodePool
from k8s.resources.quantity import SLACK, Amounts, format_amount, plural, subtract
from k8s.resources.rayservice import PodDemand

Json = Mapping[str, Any]

# Labels whose value is the node group's name or part of it.
GROUP_LABELS = (
    "eks.amazonaws.com/nodegroup",
    "alpha.eksctl.io/nodegroup-name",
    "kubernetes.azure.com/agentpool",
    "doks.digitalocean.com/node-pool",
)
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Labels that Karpenter sets by itself, with values from the cloud.
KNOWN_LABELS = re.compile(r"(^|\.)(kubernetes\.io|k8s\.io|k8s\.aws|karpenter\.sh|karpenter\.azure\.com)/")


@dataclass(slots=True)
class NodeGroupGrowth:
    """A node group, what a new node of it looks like (None: unknown), and the nodes it would add."""

    group: NodeGroup
    new_node: NodeCapacity | None
    added: list[NodeCapacity] = field(default_factory=list)
    concerned: bool = False

    def place(self, demand: PodDemand) -> bool:
        """Place one pod on a node that would be added; False where none can be."""
        node = self.new_node
        if node is None or not accepts(node, demand.spec) or not node.fits(demand.each):
            return False
        self.concerned = True
        if place(demand.each, self.added):
            return True
        if len(self.added) >= self.group.spare:
            return False
        self.added.append(node.copy())
        self.added[-1].reserve(demand.each)
        return True

    def line(self) -> str:
        """What it would add, or why it adds nothing."""
        group, more = self.group, len(self.added)
        has = f"node group {group.name} has {group.target} of at most {plural(group.maximum, 'node')}"
        if group.backoff:
            return f"{has} and cannot grow now ({group.backoff})"
        return f"{has} and would add {more}" if more else has


@dataclass(slots=True)
class NodePoolGrowth:
    """A NodePool, what is left of its limits, and the pods it would create nodes for."""

    pool: NodePool
    left: Amounts
    pods: int = 0
    concerned: bool = False

    def place(self, demand: PodDemand) -> bool:
        """Place one pod; False where the pool creates no node for it, or its limits forbid it."""
        pool, spec = self.pool, demand.spec
        if pool.static or not pool.ready or not tolerates(spec, pool.taints) or not self._selects(spec):
            return False
        self.concerned = True
        if self.left.get("nodes", 1.0) < 1 or any(
            self.left[k] + SLACK < v for k, v in demand.each.items() if k in self.left
        ):
            return False
        subtract(self.left, demand.each)
        self.pods += 1
        return True

    def line(self) -> str:
        """What it would add, and its limits."""
        limits = self.pool.limits
        used = ", ".join(
            f"{format_amount(k, self.pool.used.get(k, 0))} of at most {format_amount(k, v)}"
            for k, v in limits.items()
        )
        would = f"NodePool {self.pool.name} would add nodes for {plural(self.pods, 'pod')}"
        return f"{would}; it has {used or 'no limit'}"

    def _selects(self, spec: Json) -> bool:
        """Whether its nodes can have the labels that a pod selects. Affinity is left to Karpenter."""
        known = {r["key"]: r for r in self.pool.requirements}
        for key, value in (spec.get("nodeSelector") or {}).items():
            if key in self.pool.labels:
                if self.pool.labels[key] != value:
                    return False
            elif key in known:
                if not matches_expression({key: value}, known[key]):
                    return False
            elif not KNOWN_LABELS.search(key):
                return False
        return True


@dataclass(slots=True)
class Autoscaling:
    """Everything that can add nodes."""

    sources: Sequence[NodeGroupGrowth | NodePoolGrowth] = ()
    unknown: tuple[str, ...] = ()
    """What can add nodes, though not how many."""
    useless: tuple[str, ...] = ()
    """What should add nodes but will not, and why."""

    def place(self, demand: PodDemand) -> bool:
        """Place one pod on a node that would be added; False where none can be."""
        return any(source.place(demand) for source in self.sources)

    def lines(self) -> list[str]:
        """What each source concerned would add."""
        return [source.line() for source in self.sources if source.concerned]


def find_autoscaling(
    status: AutoscalerStatus, pools: Iterable[NodePool], nodes: Sequence[Json], pods: Sequence[Json]
) -> Autoscaling:
    """What can add nodes, by the cluster autoscaler's status and Karpenter's NodePools."""
    example = example_nodes(status.groups, nodes)
    sources: list[NodeGroupGrowth | NodePoolGrowth] = []
    unknown = [status.unknown] if status.unknown else []
    for group in status.groups:
        new_node = new_node_like(example[group.name], pods) if group.name in example else None
        sources.append(NodeGroupGrowth(group, new_node))
        if new_node is None and group.spare:
            unknown.append(
                f"node group {group.name} has no node now, so the size of its nodes is unknown; "
                f"it can add {group.spare}"
            )
    for pool in pools:
        left = {k: v - pool.used.get(k, 0.0) for k, v in pool.limits.items()}
        sources.append(NodePoolGrowth(pool, left))
    return Autoscaling(sources, tuple(unknown), (status.stopped,) if status.stopped else ())


def example_nodes(groups: Sequence[NodeGroup], nodes: Sequence[Json]) -> dict[str, Json]:
    """A node of each group that has one, recognized by name or labels; the longer group name wins."""
    found: dict[str, Json] = {}
    for node in nodes:
        mine = [g.name for g in groups if _belongs(node, _base_name(g.name))]
        if mine:
            found.setdefault(max(mine, key=len), node)
    # A regional pool of GKE is one group per zone; a group without a node has nodes like its siblings.
    for group in groups:
        sibling = next((n for n in found if "/instanceGroups/" in n and _pool(n) == _pool(group.name)), None)
        if group.name not in found and sibling is not None:
            found[group.name] = found[sibling]
    return found


def _base_name(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix("-grp")


def _pool(name: str) -> str:
    return _base_name(name).rpartition("-")[0]


def _belongs(node: Json, base: str) -> bool:
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    if name.startswith(f"{base}-") or (base.endswith("vmss") and name.startswith(base)):
        return True
    for value in (labels[k] for k in GROUP_LABELS if k in labels):
        name = re.escape(value)
        if re.fullmatch(rf"{name}|eks-{name}-{UUID}|eksctl-.*-nodegroup-{name}-NodeGroup-\w+", base):
            return True
    return False
