"""Where the time of a step on a GPU goes, and how near the card's peaks it comes."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

STEPS = 5

ATTENTION = ("flash", "attention", "fmha", "attn")
PRODUCTS = ("gemm", "gemv", "cutlass", "nvjet", "splitk", "cublas", "xmma")


@dataclass(frozen=True, slots=True)
class Card:
    """Peaks of a card: dense bfloat16 operations and bytes of memory, each in one second."""

    flops: float
    bytes: float


# Source: NVIDIA's data sheets. The first name that a card's own contains, so the longer ones come first.
CARDS = {
    "H200": Card(989e12, 4.8e12),
    "H100 PCIe": Card(756e12, 2.0e12),
    "H100 NVL": Card(835e12, 3.9e12),
    "H100": Card(989e12, 3.35e12),
    "A100-SXM4-40GB": Card(312e12, 1.555e12),
    "A100-PCIE-40GB": Card(312e12, 1.555e12),
    "A100 80GB PCIe": Card(312e12, 1.935e12),
    "A100": Card(312e12, 2.039e12),
    "L40S": Card(362e12, 0.864e12),
    "L4": Card(121e12, 0.3e12),
}


def card_of(name: str) -> Card | None:
    """The peaks of the card of this name as its driver gives it, or None where they are not known."""
    return next((card for key, card in CARDS.items() if re.search(rf"\b{key}\b", name)), None)


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the time of a step: attention, matrix products, other kernels, and gaps between kernels."""

    attention: float
    products: float
    other: float
    gaps: float

    def __str__(self) -> str:
        return (
            f"attention {self.attention:.0%}, matrix products {self.products:.0%}, "
            f"other kernels {self.other:.0%}, gaps {self.gaps:.0%}"
        )


def shares(kernels: Iterable[tuple[str, float, float]]) -> Shares:
    """Divide the time from the first kernel to the last; each is its name, start and end.

    Kernels may overlap: what a kernel shares with earlier ones counts as theirs.
    """
    ordered = sorted(kernels, key=lambda kernel: kernel[1])
    if not ordered:
        raise ValueError("the profile has no kernels")
    spent, until = {"attention": 0.0, "products": 0.0, "other": 0.0}, ordered[0][1]
    for name, start, end in ordered:
        spent[_kind(name)] += max(0.0, end - max(start, until))
        until = max(until, end)
    whole = until - ordered[0][1]
    found = {kind: seconds / whole for kind, seconds in spent.items()}
    return Shares(**found, gaps=1 - sum(found.values()))


def _kind(name: str) -> str:
    lowered = name.lower()
    if any(word in lowered for word in ATTENTION):
        return "attention"
    return "products" if any(word in lowered for word in PRODUCTS) else "other"


def profiled(step: Callable[[], object]) -> Shares:
    """Where the time of a step goes on this GPU, of several after one to warm up."""
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    events = (event for event in trace.events() or () if str(event.device_type).endswith("CUDA"))
    return shares((event.name, event.time_range.start, event.time_range.end) for event in events)
