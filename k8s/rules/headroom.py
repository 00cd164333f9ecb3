"""Whether a second cluster fits beside the first: GPUs, CPU and memory by node, taints, selectors and quotas.

Everything here is pure: nodes, pods and quotas in, an account out. It places pods as a scheduler might, the
largest first; what fits nowhere here will fit nowhere there, unless a cluster autoscaler adds nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
Amounts = dict[str, float]

UNITS = {
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
}
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")
# What KubeRay asks for the autoscaler beside the head, unless told otherwise.
AUTOSCALER_REQUESTS = {"cpu": "500m", "memory": "512Mi"}
BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(slots=True)
class Room:
    """A node and what is free on it."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Json]
    free: Amounts
    total: Amounts


@dataclass(frozen=True, slots=True)
class Want:
    """Pods that are wanted, all alike: a pool's, or the head."""

    group: str
    count: int
    each: Amounts
    spec: Json


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

    def sentence(self) -> str:
        """The numbers, for a person."""
        needs = " and ".join(f"{amount(k, v)}" for k, v in sorted(self.each.items(), key=_importance) if v)
        keys = [k for k in self.each if k in GPU_RESOURCES and self.each[k]] or ["cpu", "memory"]
        free = ", ".join(
            f"{amount(k, self.free.get(k, 0))} of {amount(k, self.total.get(k, 0))}" for k in keys
        )
        where = (
            f"the {self.nodes} nodes that would take them have {free} free"
            if self.nodes
            else "no node would take them"
        )
        return f"pool {self.group}: {self.wanted} pods of {needs} each, room for {self.fit}; {where}"


@dataclass(frozen=True, slots=True)
class Account:
    """Whether everything fits, what does not, and the quotas that would be passed."""

    short: tuple[Short, ...] = ()
    quotas: tuple[str, ...] = ()
    may_grow: bool = False
    """Whether a cluster autoscaler may add nodes."""
    gpus: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Free and allocatable GPUs, by resource."""

    @property
    def fits(self) -> bool:
        """Whether a rollout can finish."""
        return not self.quotas and (not self.short or self.may_grow)

    def lines(self) -> list[str]:
        """What is short, for a person."""
        return [*(s.sentence() for s in self.short), *self.quotas]


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


def needs(pod_spec: Json) -> Amounts:
    """What a scheduler sets aside for a pod: its containers' sum, or an init container's more."""
    total: Amounts = {}
    for container in pod_spec.get("containers") or []:
        for key, value in _requests(container).items():
            total[key] = total.get(key, 0.0) + value
    for container in pod_spec.get("initContainers") or []:
        for key, value in _requests(container).items():
            total[key] = max(total.get(key, 0.0), value)
    return total


def wants(cluster: Json, *, head: bool = True) -> list[Want]:
    """The pods of a `rayClusterConfig`: the head, and each pool at the number it starts with."""
    found = []
    if head:
        spec = cluster["headGroupSpec"]["template"]["spec"]
        each = needs(spec)
        if cluster.get("enableInTreeAutoscaling"):
            resources = (cluster.get("autoscalerOptions") or {}).get("resources") or {
                "requests": AUTOSCALER_REQUESTS
            }
            for key, value in _requests({"resources": resources}).items():
                each[key] = each.get(key, 0.0) + value
        found.append(Want("head", 1, each, spec))
    for group in cluster.get("workerGroupSpecs") or []:
        spec = group["template"]["spec"]
        least, most = group.get("minReplicas") or 0, group.get("maxReplicas", 2**31 - 1)
        count = max(least, min(group.get("replicas") or 0, most))
        found.append(Want(group["groupName"], count, needs(spec), spec))
    return found


def more(before: Json, after: Json) -> list[Want]:
    """The pods that a running cluster gets when its pools grow."""
    had = {w.group: w.count for w in wants(before, head=False)}
    return [
        Want(w.group, w.count - had.get(w.group, 0), w.each, w.spec)
        for w in wants(after, head=False)
        if w.count > had.get(w.group, 0)
    ]


def rooms(nodes: Iterable[Json], pods: Iterable[Json]) -> list[Room]:
    """The nodes that take pods, each with what the pods on it leave free."""
    found = {}
    for node in nodes:
        ready = any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in node.get("status", {}).get("conditions") or []
        )
        if not ready or node.get("spec", {}).get("unschedulable"):
            continue
        total = {k: quantity(v) for k, v in (node["status"].get("allocatable") or {}).items()}
        meta = node["metadata"]
        found[meta["name"]] = Room(
            meta["name"], meta.get("labels") or {}, node["spec"].get("taints") or [], dict(total), total
        )
    for pod in pods:
        room = found.get((pod.get("spec") or {}).get("nodeName", ""))
        if room is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        _take(room, needs(pod["spec"]))
    return list(found.values())


def account(
    wanted: Sequence[Want], free: Sequence[Room], quotas: Sequence[Json] = (), *, may_grow: bool = False
) -> Account:
    """Whether the wanted pods fit on the nodes and into the namespace's quotas. Takes room on `free`."""
    gpus = _gpus(free)
    short = []
    # The GPUs of a pool decide first; a head fits nearly anywhere.
    for want in sorted(wanted, key=lambda w: [-w.each.get(k, 0.0) for k in (*GPU_RESOURCES, "cpu")]):
        able = [r for r in free if takes(r, want.spec) and _offers(r, want)]
        before = _sum(r.free for r in able)
        fit = sum(_place(want, able) for _ in range(want.count))
        if fit < want.count:
            each = {k: v for k, v in want.each.items() if v}
            total = _sum(r.total for r in able)
            short.append(Short(want.group, want.count, fit, each, len(able), before, total))
    return Account(tuple(short), tuple(_passed(wanted, quotas)), may_grow, gpus)


def takes(room: Room, pod_spec: Json) -> bool:
    """Whether a node's labels and taints let a pod in, however full it is."""
    selector = pod_spec.get("nodeSelector") or {}
    if any(room.labels.get(k) != v for k, v in selector.items()):
        return False
    tolerations = pod_spec.get("tolerations") or []
    for taint in room.taints:
        if taint.get("effect") in BLOCKING and not any(_tolerates(t, taint) for t in tolerations):
            return False
    return _affine(room, pod_spec)


def _offers(room: Room, want: Want) -> bool:
    return all(key in room.total for key in GPU_RESOURCES if want.each.get(key))


def _affine(room: Room, pod_spec: Json) -> bool:
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    if not terms:
        return True
    return any(
        all(_expression(room.labels, e) for e in t.get("matchExpressions") or [])
        and all(_expression({"metadata.name": room.name}, e) for e in t.get("matchFields") or [])
        for t in terms
    )


def _expression(  # noqa: PLR0911 - one for each operator there is
    labels: Mapping[str, str], expression: Json
) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
    return False


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
    )


def _place(want: Want, able: Sequence[Room]) -> bool:
    for room in able:
        if room.free.get("pods", 1.0) >= 1 and all(
            room.free.get(k, 0.0) + 1e-9 >= v for k, v in want.each.items() if v
        ):
            _take(room, want.each)
            return True
    return False


def _take(room: Room, each: Mapping[str, float]) -> None:
    for key, value in {**each, "pods": 1.0}.items():
        if key in room.free:
            room.free[key] -= value


def _passed(wanted: Sequence[Want], quotas: Sequence[Json]) -> Iterable[str]:
    total: Amounts = {"pods": float(sum(w.count for w in wanted))}
    for want in wanted:
        for key, value in want.each.items():
            total[key] = total.get(key, 0.0) + value * want.count
    for quota in quotas:
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            name = key.removeprefix("requests.")
            asked = total.get(name, 0.0)
            used = quantity((status.get("used") or {}).get(key, 0))
            if asked and used + asked > quantity(hard) + 1e-9:
                yield (
                    f"quota {quota['metadata']['name']}: {amount(name, asked)} more wanted, "
                    f"{amount(name, used)} of {amount(name, quantity(hard))} used"
                )


def _requests(container: Json) -> Amounts:
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {k: quantity(v) for k, v in merged.items()}


def _gpus(free: Iterable[Room]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for room in free:
        for key in GPU_RESOURCES:
            if key in room.total:
                left, total = found.get(key, (0, 0))
                found[key] = (left + int(room.free[key]), total + int(room.total[key]))
    return found


def _sum(amounts: Iterable[Mapping[str, float]]) -> Amounts:
    total: Amounts = {}
    for each in amounts:
        for key, value in each.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _importance(item: tuple[str, float]) -> tuple[bool, str]:
    return (item[0] not in GPU_RESOURCES, item[0])
