"""Amounts of what pods ask for and nodes offer: quantities read, added up and told."""

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]
Amounts = dict[str, float]

UNITS = {
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
}
# Sums of fractions of a CPU are not exact.
SLACK = 1e-9
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")


def quantity(text: str | float) -> float:
    """A Kubernetes quantity such as `500m` or `4Gi` as a number."""
    said = str(text)
    for unit, factor in UNITS.items():
        if said.endswith(unit):
            return float(said[: -len(unit)]) * factor
    return float(said)


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
