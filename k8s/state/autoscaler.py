"""What a cluster autoscaler says of its node groups, in the ConfigMap `cluster-autoscaler-status`.

Since 1.30 it writes YAML, before it wrote text (kubernetes/autoscaler, cluster-autoscaler/clusterstate).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

Json = Mapping[str, Any]

UPDATED = "cluster-autoscaler.kubernetes.io/last-updated"
# It writes every few seconds while it runs.
SILENT = timedelta(minutes=10)
GROUP = re.compile(r"^  Name: +(\S+)\n", re.MULTILINE)
SIZES = re.compile(r"cloudProviderTarget=(\d+) \(minSize=\d+, maxSize=(\d+)\)")
BACKOFF = re.compile(r"^  ScaleUp: +Backoff\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """A group of like nodes: how many there are to be now, the most there may be, and what keeps it small."""

    name: str
    target: int
    most: int
    backoff: str = ""

    @property
    def spare(self) -> int:
        """How many nodes may still be added."""
        return 0 if self.backoff else max(self.most - self.target, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """The node groups; or why nobody knows how far they reach; or why nothing is to be hoped for."""

    groups: tuple[NodeGroup, ...] = ()
    unknown: str = ""
    gone: str = ""


def report(config_map: Json | None, now: datetime) -> Report:
    """What the ConfigMap says; where there is none, no cluster autoscaler is known."""
    if config_map is None:
        return Report()
    text = str((config_map.get("data") or {}).get("status") or "")
    stamp = (config_map["metadata"].get("annotations") or {}).get(UPDATED, "")
    if _silent(stamp, now):
        return Report(gone=f"the cluster autoscaler has said nothing since {stamp[:19]}")
    groups = _from_text(text) if text.startswith("Cluster-autoscaler status at") else _from_yaml(text)
    if groups is None:
        return Report(unknown="a cluster autoscaler runs here, but its limits are not known")
    return Report(groups)


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
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        sizes = SIZES.search(said)
        if sizes is None:
            return None
        backoff = "a scale-up failed a short time ago" if BACKOFF.search(said) else ""
        found.append(NodeGroup(name, int(sizes[1]), int(sizes[2]), backoff))
    return tuple(found)


def _group(found: Json) -> NodeGroup:
    health, up = found["health"], found.get("scaleUp") or {}
    backoff = ""
    if up.get("status") == "Backoff":
        why = up.get("backoffInfo") or {}
        said = ": ".join(filter(None, [why.get("errorCode"), why.get("errorMessage")]))
        backoff = said or "a scale-up failed a short time ago"
    return NodeGroup(found["name"], int(health["cloudProviderTarget"]), int(health["maxSize"]), backoff)


def _silent(stamp: str, now: datetime) -> bool:
    """Whether the last word is old. A stamp is Go's: `2026-11-21 12:00:00.123 +0000 UTC`."""
    try:
        day, time, zone, *_ = stamp.split(" ")
        last = datetime.strptime(f"{day} {time[:8]} {zone}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return False
    return now - last.astimezone(UTC) > SILENT
