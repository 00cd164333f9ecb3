"""Amounts of resources: what pods request, what nodes offer, added up and formatted."""

from collections.abc import Iterable, Mapping
from typing import Any

from k8s.resources.quantity import quantity

Json = Mapping[str, Any]
Amounts = dict[str, float]

# Sums of fractions of a CPU are not exact.
SLACK = 1e-9
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")


def format_amount(resource: str, value: float) -> str:
    """An amount with its resource: `2 nvidia.com/gpu`, `1.5 cpu`, `4.0 GiB memory`."""
    if "memory" in resource or "storage" in resource:
        return f"{value / 2**30:.1f} GiB {resource}"
    return f"{value:g} {resource}"


def plural(number: int, noun: str) -> str:
    """A number with its noun: `1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def container_requests(container: Json) -> Amounts:
    """A container's requests; a limit counts where there is no request, as in the API server."""
    resources = container.get("resources") or {}
    return _parse({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def pod_requests(pod_spec: Json) -> Amounts:
    """What a scheduler reserves for a pod: the sum of its containers, or its largest init container."""
    total = add(container_requests(c) for c in pod_spec.get("containers") or [])
    for container in pod_spec.get("initContainers") or []:
        for key, value in container_requests(container).items():
            total[key] = max(total.get(key, 0.0), value)
    return total


def pod_limits(pod_spec: Json) -> Amounts:
    """The sum of a pod's container limits, as quotas on limits count it."""
    containers = pod_spec.get("containers") or []
    return add(_parse((c.get("resources") or {}).get("limits") or {}) for c in containers)


def add(amounts: Iterable[Mapping[str, float]]) -> Amounts:
    """The sum of amounts, by resource."""
    total: Amounts = {}
    for each in amounts:
        for key, value in each.items():
            total[key] = total.get(key, 0.0) + value
    return total


def subtract(left: Amounts, each: Mapping[str, float]) -> None:
    """Subtract amounts in place; resources that `left` does not have are ignored."""
    for key, value in each.items():
        if key in left:
            left[key] -= value


def _parse(found: Json) -> Amounts:
    return {key: quantity(value) for key, value in found.items()}
