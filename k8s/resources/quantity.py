"""Kubernetes quantities: parsed to numbers, and in the form that the API server stores.

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from typing import Any

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Fields of a pod that map names to quantities, and fields that hold one.
MAPS = ("limits", "requests", "overhead")
FIELDS = ("sizeLimit", "divisor")


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
