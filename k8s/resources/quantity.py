"""Kubernetes quantities: parsed, in the form that the API server stores, and added up by resource.

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_UP, Decimal
from typing import Any

Json = Mapping[str, Any]
Amounts = dict[str, float]
# Sums of fractions of a CPU are not exact.
SLACK = 1e-9
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Fields of a pod that map names to quantities, and fields that hold one.
MAPS = ("limits", "requests", "overhead")
FIELDS = ("sizeLimit", "divisor")


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
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


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
    return add(_amounts((c.get("resources") or {}).get("limits") or {}) for c in containers)


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


def quantity(text: str | float) -> float:
    """Parse a quantity such as `500m` or `4Gi`. Raises ValueError for anything else."""
    return float(_parse(str(text))[0])


def canonical(text: str | float) -> str:
    """A quantity as the API server stores it: `28672Mi` as `28Gi`, 0.5 as `500m`, 7 as `7`.

    Binary and decimal units stay distinct, as in what KubeRay compares: `1Gi` is not `1073741824`.
    Raises ValueError where the text is not a quantity.
    """
    number, binary = _parse(str(text))
    number = number.quantize(Decimal(10) ** DECIMAL["n"], ROUND_UP)
    if binary and abs(number) >= 1024 and number == number.to_integral_value():
        unit = max((u for u in BINARY if number % BINARY[u] == 0), key=BINARY.__getitem__, default="")
        return f"{int(number) // BINARY.get(unit, 1)}{unit}"
    for unit, exponent in sorted((*DECIMAL.items(), ("", 0)), key=lambda each: -each[1]):
        scaled = number.scaleb(-exponent)
        if number and scaled == scaled.to_integral_value():
            return f"{int(scaled)}{unit}"
    return "0"


def with_canonical_quantities(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """A copy of an API object with every quantity in its stored form."""
    if isinstance(value, list):
        return [with_canonical_quantities(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for key, inner in value.items():
        if key in MAPS and isinstance(inner, Mapping):
            found[key] = {name: _stored(each) for name, each in inner.items()}
        else:
            found[key] = _stored(inner) if key in FIELDS else with_canonical_quantities(inner)
    return found


def _amounts(found: Json) -> Amounts:
    return {key: quantity(value) for key, value in found.items()}


def _parse(text: str) -> tuple[Decimal, bool]:
    """The number, and whether its unit is binary."""
    binary, decimal = BINARY.get(text[-2:]), DECIMAL.get(text[-1:])
    digits = text[:-2] if binary else text[:-1] if decimal else text
    if not NUMBER.fullmatch(digits):
        raise ValueError(f"{text!r} is not a Kubernetes quantity; write one such as 500m, 7 or 28Gi")
    number = Decimal(digits)
    return number * binary if binary else number.scaleb(decimal or 0), bool(binary)


def _stored(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """The stored form of a quantity; anything else is unchanged, for the API server to refuse."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return canonical(value)
    except ValueError:
        return value
