"""Whether the pods of a rollout fit: onto the nodes, and into the namespace's quotas.

Pods are placed as a scheduler might, the largest first; a pod that fits nowhere here fits nowhere in the
cluster until nodes are added.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s.planning.autoscaling import Autoscaling
from k8s.planning.nodes import NodeCapacity, accepts, count_gpus, place
from k8s.resources.quantity import (
    GPU_RESOURCES,
    SLACK,
    Amounts,
    add,
    format_amount,
    plural,
    pod_limits,
    quantity,
)
from k8s.resources.rayservice import PodDemand

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Pods of one pool that do not all fit, and the numbers."""

    group: str
    wanted: int
    fit: int
    each: Mapping[str, float]
    nodes: int
    free: Mapping[str, float]
    total: Mapping[str, float]
    on_new_nodes: int = 0
    """Pods that would fit on nodes that an autoscaler can add."""

    def sentence(self) -> str:
        """The shortage in one sentence."""
        each = " and ".join(format_amount(k, v) for k, v in sorted(self.each.items(), key=_gpus_first) if v)
        keys = [k for k in self.each if k in GPU_RESOURCES and self.each[k]] or ["cpu", "memory"]
        free = ", ".join(
            f"{format_amount(k, self.free.get(k, 0))} of {format_amount(k, self.total.get(k, 0))}"
            for k in keys
        )
        where = f"{plural(self.nodes, 'node')} accept them, with {free} free"
        if self.nodes == 1:
            where = where.replace("accept", "accepts", 1)
        if not self.nodes:
            where = "no node accepts them"
        more = f" and {self.on_new_nodes} more on nodes that can be added" if self.on_new_nodes else ""
        pods = plural(self.wanted, "pod")
        return f"pool {self.group}: {self.fit} of {pods} of {each} each fit{more}; {where}"


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """Whether everything fits, what does not, and the quotas that would be exceeded."""

    shortages: tuple[Shortage, ...] = ()
    quotas: tuple[str, ...] = ()
    growth: tuple[str, ...] = ()
    """What each node group or NodePool would add."""
    unknown: tuple[str, ...] = ()
    """What can add nodes, though not how many."""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Free and allocatable GPUs, by resource."""

    @property
    def fits(self) -> bool:
        """Whether a rollout can finish."""
        return not self.quotas and (not self.shortages or bool(self.unknown))

    def lines(self) -> list[str]:
        """What is short, as lines of text."""
        short = [s.sentence() for s in self.shortages]
        return [*short, *(self.growth if short else ()), *(self.unknown if short else ()), *self.quotas]


def report_capacity(
    demands: Sequence[PodDemand],
    nodes: Sequence[NodeCapacity],
    quotas: Sequence[Json] = (),
    autoscaling: Autoscaling | None = None,
) -> CapacityReport:
    """Place the pods on the nodes, present and future, and count them against the quotas.

    Reserves resources on `nodes` and in `autoscaling`.
    """
    autoscaling = autoscaling or Autoscaling()
    gpus = count_gpus(nodes)
    shortages = []
    # A pool's GPUs are the scarcest resource; a head fits nearly anywhere.
    for demand in sorted(demands, key=lambda d: [-d.each.get(k, 0.0) for k in (*GPU_RESOURCES, "cpu")]):
        able = [n for n in nodes if accepts(n, demand.spec) and _has_gpus(n, demand)]
        free = add(n.free for n in able)
        fit = sum(place(demand.each, able) for _ in range(demand.count))
        more = sum(autoscaling.place(demand) for _ in range(demand.count - fit))
        if fit + more < demand.count:
            each, total = {k: v for k, v in demand.each.items() if v}, add(n.total for n in able)
            shortages.append(Shortage(demand.group, demand.count, fit, each, len(able), free, total, more))
    growth = (*autoscaling.lines(), *(autoscaling.useless if shortages else ()))
    exceeded = tuple(_exceeded_quotas(demands, quotas))
    return CapacityReport(tuple(shortages), exceeded, growth, autoscaling.unknown, gpus)


def _has_gpus(node: NodeCapacity, demand: PodDemand) -> bool:
    return all(key in node.total for key in GPU_RESOURCES if demand.each.get(key))


def _exceeded_quotas(demands: Sequence[PodDemand], quotas: Sequence[Json]) -> Iterator[str]:
    total = _counted_by_quotas(demands)
    for quota in quotas:
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # It counts only some pods, such as those of a PriorityClass.
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            name = key.removeprefix("requests.")
            needed = total.get(name, 0.0)
            used = quantity((status.get("used") or {}).get(key, 0))
            if needed and used + needed > quantity(hard) + SLACK:
                yield (
                    f"quota {quota['metadata']['name']}: {format_amount(name, needed)} more needed, "
                    f"{format_amount(name, used)} of {format_amount(name, quantity(hard))} used"
                )


def _counted_by_quotas(demands: Sequence[PodDemand]) -> Amounts:
    pods = float(sum(d.count for d in demands))
    total: Amounts = {"pods": pods, "count/pods": pods}
    for demand in demands:
        limits = {f"limits.{k}": v for k, v in pod_limits(demand.spec).items()}
        for key, value in {**demand.each, **limits}.items():
            total[key] = total.get(key, 0.0) + value * demand.count
    return total


def _gpus_first(item: tuple[str, float]) -> tuple[bool, str]:
    return (item[0] not in GPU_RESOURCES, item[0])
