"""Amounts of what pods ask for and nodes offer: added up and told."""

from collections.abc import Iterable, Mapping
from typing import Any

from k8s.state.quantity import quantity

Json = Mapping[str, Any]
Amounts = dict[str, float]

# Sums of fractions of a CPU are not exact.
SLACK = 1e-9
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")


def amount(resource: str, value: float) -> str:
    """An amount for a person: `2 nvidia.com/gpu`, `1.5 cpu`, `4.0 GiB memory`."""
    if "memory" in resource or "storage" in resource:
        return f"{value / 2**30:.1f} GiB {resource}"
    return f"{value:g} {resource}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def requests(container: Json) -> Amounts:
    """What a container asks for: its requests, or its limits where it names no request."""
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {k: quantity(v) for k, v in merged.items()}


def subtract(left: Amounts, each: Mapping[str, float]) -> None:
    """Take amounts from what is left, of those resources that are counted there."""
    for key, value in each.items():
        if key in left:
            left[key] -= value


def added(amounts: Iterable[Mapping[str, float]]) -> Amounts:
    """The sum of amounts, by resource."""
    total: Amounts = {}
    for each in amounts:
        for key, value in each.items():
            total[key] = total.get(key, 0.0) + value
    return total
