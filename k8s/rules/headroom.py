"""Whether the pods that are wanted fit: onto the nodes there are, and into the namespace's quotas. Pure.

It places pods as a scheduler might, the largest first; what fits nowhere here will fit nowhere there, unless
nodes are added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s.rules.growth import Growth
from k8s.rules.nodes import Room, gpus, place, takes
from k8s.rules.wants import Want, limits
from k8s.state.amounts import GPU_RESOURCES, SLACK, Amounts, added, amount, counted
from k8s.state.quantity import quantity

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Short:
    """Pods of one pool that fit nowhere."""

    group: str
    wanted: int
    fit: int
    each: Mapping[str, float]
    nodes: int
    free: Mapping[str, float]
    total: Mapping[str, float]
    more: int = 0
    """Pods that would fit on nodes which may be added."""

    def sentence(self) -> str:
        """The numbers, for a person."""
        needs = " and ".join(f"{amount(k, v)}" for k, v in sorted(self.each.items(), key=_importance) if v)
        keys = [k for k in self.each if k in GPU_RESOURCES and self.each[k]] or ["cpu", "memory"]
        free = ", ".join(
            f"{amount(k, self.free.get(k, 0))} of {amount(k, self.total.get(k, 0))}" for k in keys
        )
        where = (
            f"on the {counted(self.nodes, 'node')} that would take them, {free} free"
            if self.nodes
            else "no node would take them"
        )
        more = f" and for {self.more} more on nodes that may be added" if self.more else ""
        wanted = f"pool {self.group}: {counted(self.wanted, 'pod')} of {needs} each"
        return f"{wanted}, room for {self.fit}{more}; {where}"


@dataclass(frozen=True, slots=True)
class Account:
    """Whether everything fits, what does not, and the quotas that would be passed."""

    short: tuple[Short, ...] = ()
    quotas: tuple[str, ...] = ()
    growth: tuple[str, ...] = ()
    """What would be added, by node group or NodePool, of those that pods turned to."""
    unknown: tuple[str, ...] = ()
    """What may add nodes though nobody can say how many."""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Free and allocatable GPUs, by resource."""

    @property
    def fits(self) -> bool:
        """Whether a rollout can finish."""
        return not self.quotas and (not self.short or bool(self.unknown))

    def lines(self) -> list[str]:
        """What is short, for a person."""
        short = [s.sentence() for s in self.short]
        return [*short, *(self.growth if short else ()), *(self.unknown if short else ()), *self.quotas]


def account(
    wanted: Sequence[Want],
    free: Sequence[Room],
    quotas: Sequence[Json] = (),
    growth: Growth | None = None,
) -> Account:
    """Whether the wanted pods fit on the nodes, those there are and those to come, and into the quotas.

    Takes room on `free` and of `growth`.
    """
    growth = growth or Growth()
    offered = gpus(free)
    short = []
    # The GPUs of a pool decide first; a head fits nearly anywhere.
    for want in sorted(wanted, key=lambda w: [-w.each.get(k, 0.0) for k in (*GPU_RESOURCES, "cpu")]):
        able = [r for r in free if takes(r, want.spec) and _offers(r, want)]
        before = added(r.free for r in able)
        fit = sum(place(want.each, able) for _ in range(want.count))
        more = sum(growth.place(want) for _ in range(want.count - fit))
        if fit + more < want.count:
            each = {k: v for k, v in want.each.items() if v}
            total = added(r.total for r in able)
            short.append(Short(want.group, want.count, fit, each, len(able), before, total, more))
    grown = (*growth.lines(), *(growth.useless if short else ()))
    return Account(tuple(short), tuple(_passed(wanted, quotas)), grown, growth.unknown, offered)


def _offers(room: Room, want: Want) -> bool:
    return all(key in room.total for key in GPU_RESOURCES if want.each.get(key))


def _passed(wanted: Sequence[Want], quotas: Sequence[Json]) -> Iterable[str]:
    pods = float(sum(w.count for w in wanted))
    total: Amounts = {"pods": pods, "count/pods": pods}
    for want in wanted:
        limited = {f"limits.{k}": v for k, v in limits(want.spec).items()}
        for key, value in {**want.each, **limited}.items():
            total[key] = total.get(key, 0.0) + value * want.count
    for quota in quotas:
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            name = key.removeprefix("requests.")
            asked = total.get(name, 0.0)
            used = quantity((status.get("used") or {}).get(key, 0))
            if asked and used + asked > quantity(hard) + SLACK:
                yield (
                    f"quota {quota['metadata']['name']}: {amount(name, asked)} more wanted, "
                    f"{amount(name, used)} of {amount(name, quantity(hard))} used"
                )


def _importance(item: tuple[str, float]) -> tuple[bool, str]:
    return (item[0] not in GPU_RESOURCES, item[0])
