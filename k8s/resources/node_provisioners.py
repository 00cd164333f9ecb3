"""Node provisioners: node groups of the cluster autoscaler, and NodePools of Karpenter (karpenter.sh/v1).

The cluster autoscaler writes its ConfigMap `cluster-autoscaler-status` as YAML since 1.30 and as text before
(kubernetes/autoscaler, cluster-autoscaler/clusterstate).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import yaml

from k8s.resources.quantity import Amounts, quantity

Json = Mapping[str, Any]
UPDATED = "cluster-autoscaler.kubernetes.io/last-updated"
# A running autoscaler writes every few seconds.
STALE_AFTER = timedelta(minutes=10)
GROUP = re.compile(r"^  Name: +(\S+)\n", re.MULTILINE)
SIZES = re.compile(r"cloudProviderTarget=(\d+) \(minSize=\d+, maxSize=(\d+)\)")
BACKED_OFF = "a recent scale-up failed"
BACKOFF = re.compile(r"^  ScaleUp: +Backoff\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NodePool:
    """A pool that creates nodes for pods that fit on none. An empty `limits` means no limit."""

    name: str
    labels: Mapping[str, str]
    requirements: Sequence[Json]
    taints: Sequence[Json]
    limits: Amounts
    used: Amounts
    ready: bool
    static: bool
    """Whether it keeps a fixed number of nodes."""

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse an API object."""
        spec, status = found["spec"], found.get("status") or {}
        template = spec["template"]
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
        return cls(
            name=found["metadata"]["name"],
            labels=(template.get("metadata") or {}).get("labels") or {},
            requirements=template["spec"].get("requirements") or [],
            taints=template["spec"].get("taints") or [],
            limits={k: quantity(v) for k, v in (spec.get("limits") or {}).items()},
            used={k: quantity(v) for k, v in (status.get("resources") or {}).items()},
            ready=conditions.get("Ready", "True") == "True",
            static=spec.get("replicas") is not None,
        )


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """A group of identical nodes: its current target, its maximum, and why it cannot grow now."""

    name: str
    target: int
    maximum: int
    backoff: str = ""

    @property
    def spare(self) -> int:
        """How many nodes can still be added."""
        return 0 if self.backoff else max(self.maximum - self.target, 0)


@dataclass(frozen=True, slots=True)
class AutoscalerStatus:
    """The node groups; or why their limits are unknown; or why the autoscaler will add nothing."""

    groups: tuple[NodeGroup, ...] = ()
    unknown: str = ""
    stopped: str = ""


def autoscaler_status(config_map: Json | None, now: datetime) -> AutoscalerStatus:
    """Parse the ConfigMap; without one, no cluster autoscaler is assumed."""
    if config_map is None:
        return AutoscalerStatus()
    text = str((config_map.get("data") or {}).get("status") or "")
    stamp = (config_map["metadata"].get("annotations") or {}).get(UPDATED, "")
    if _is_stale(stamp, now):
        return AutoscalerStatus(stopped=f"the cluster autoscaler has written no status since {stamp[:19]}")
    groups = _from_text(text) if text.startswith("Cluster-autoscaler status at") else _from_yaml(text)
    if groups is None:
        return AutoscalerStatus(unknown="a cluster autoscaler runs, but its limits are unknown")
    return AutoscalerStatus(groups)


def _from_yaml(text: str) -> tuple[NodeGroup, ...] | None:
    try:
        found = yaml.safe_load(text)
        if not isinstance(found, Mapping) or found.get("autoscalerStatus") != "Running":
            return None
        return tuple(_group(g) for g in found.get("nodeGroups") or [])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def _from_text(text: str) -> tuple[NodeGroup, ...] | None:
    _, *parts = GROUP.split(text)
    found = []
    for name, status in zip(parts[::2], parts[1::2], strict=True):
        sizes = SIZES.search(status)
        if sizes is None:
            return None
        backoff = BACKED_OFF if BACKOFF.search(status) else ""
        found.append(NodeGroup(name, int(sizes[1]), int(sizes[2]), backoff))
    return tuple(found)


def _group(found: Json) -> NodeGroup:
    health, up = found["health"], found.get("scaleUp") or {}
    backoff = ""
    if up.get("status") == "Backoff":
        why = up.get("backoffInfo") or {}
        reason = ": ".join(filter(None, [why.get("errorCode"), why.get("errorMessage")]))
        backoff = reason or BACKED_OFF
    return NodeGroup(found["name"], int(health["cloudProviderTarget"]), int(health["maxSize"]), backoff)


def _is_stale(stamp: str, now: datetime) -> bool:
    """Whether the status is old. Go writes the stamp: `2026-11-21 12:00:00.123 +0000 UTC`."""
    try:
        day, time, zone, *_ = stamp.split(" ")
        last = datetime.strptime(f"{day} {time[:8]} {zone}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return False
    return now - last.astimezone(UTC) > STALE_AFTER
