"""The checks of what there is to run on: GPUs and quotas."""

from collections.abc import Mapping, Sequence
from typing import Any

from k8s.rules.checks.finding import Finding, Level
from k8s.rules.growth import Growth
from k8s.rules.headroom import account
from k8s.rules.nodes import Room, rooms
from k8s.rules.nodes import gpus as gpus_of
from k8s.rules.wants import wants
from k8s.state.amounts import amount
from k8s.state.quantity import quantity

Json = Mapping[str, Any]


def gpus(
    nodes: Sequence[Json], pods: Sequence[Json], service: Json, growth: Growth | None = None
) -> list[Finding]:
    """The GPUs there are, and whether the pods that the chart wants would fit on an empty cluster."""
    there = rooms(nodes, pods)
    counted = gpus_of(there)
    found = [
        Finding(Level.WELL, f"{key}: {free} of {total} free on {sum(key in r.total for r in there)} nodes")
        for key, (free, total) in counted.items()
    ]
    if not counted:
        found.append(
            Finding(
                Level.WARNING,
                "no node offers a GPU",
                "install the device plugin, or serve on CPUs (gpusPerNode: 0)",
            )
        )
    if service:
        found += _fitting(service, rooms(nodes, []), growth)
    return found


def _fitting(service: Json, free: list[Room], growth: Growth | None) -> list[Finding]:
    empty = account(wants(service["spec"]["rayClusterConfig"]), free, growth=growth)
    level = Level.WARNING if empty.fits else Level.MISSING
    lines = [*empty.growth, *(empty.unknown if empty.short else ())]
    found = [Finding(Level.UNKNOWN if line in empty.unknown else Level.WELL, line) for line in lines]
    for short in empty.short:
        fix = (
            "check nodeSelector, tolerations and resources of the pool"
            if not short.nodes
            else "add nodes, or ask for less"
        )
        found.append(Finding(level, f"not all pods fit, even on an empty cluster: {short.sentence()}", fix))
    return found or [Finding(Level.WELL, "every pod fits on an empty cluster")]


def quotas(found: Sequence[Json]) -> list[Finding]:
    """The namespace's quotas that are nearly used up."""
    if not found:
        return [Finding(Level.WELL, "the namespace has no quota")]
    findings = []
    for quota in found:
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            used = quantity((status.get("used") or {}).get(key, 0))
            limit = quantity(hard)
            full = used >= limit > 0 or limit == 0
            findings.append(
                Finding(
                    Level.WARNING if full else Level.WELL,
                    f"quota {quota['metadata']['name']}: {amount(key, used)} of {amount(key, limit)} used",
                    "ask for a larger quota: a rollout needs twice what serves" if full else "",
                )
            )
    return findings
