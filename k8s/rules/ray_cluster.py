"""What KubeRay does with a change of `rayClusterConfig`, and what it leaves as it was. Pure.

The sources of each rule are in docs/rollouts.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from k8s.rules.change import Change, Effect
from k8s.rules.fields import at, cut, differences, name_of, without
from k8s.state.quantity import with_canonical_quantities

Json = Mapping[str, Any]

# KubeRay: GenerateHashWithoutReplicasAndWorkersToDelete and rayClusterSpecForHashing leave these out.
MUTED_GROUP = (
    ("replicas",),
    ("minReplicas",),
    ("maxReplicas",),
    ("scaleStrategy", "workersToDelete"),
    ("template", "spec", "tolerations"),
    ("template", "spec", "schedulingGates"),
)
MUTED_HEAD = (("template", "spec", "tolerations"), ("template", "spec", "schedulingGates"))
MUTED_CLUSTER = (("upgradeStrategy",), ("suspend",))


def drift(service: Json, cluster: Json) -> list[Change]:
    """Where the serving RayCluster differs from the RayService in what KubeRay does not carry over."""
    wanted, has = service["spec"]["rayClusterConfig"], cluster.get("spec") or {}
    scaled = bool(wanted.get("enableInTreeAutoscaling"))
    found = [
        Change(
            name_of(("head", *path)),
            at(has.get("headGroupSpec"), path),
            at(wanted.get("headGroupSpec"), path),
            Effect.CLUSTER_PATCH,
        )
        for path in MUTED_HEAD
        if at(has.get("headGroupSpec"), path) != at(wanted.get("headGroupSpec"), path)
    ]
    groups = {g["groupName"]: g for g in has.get("workerGroupSpecs") or []}
    for group in wanted.get("workerGroupSpecs") or []:
        name = group["groupName"]
        if name not in groups:
            continue
        for path in MUTED_GROUP:
            # Ray's autoscaler owns the number of pods, and which of them go, where it runs.
            if path == ("scaleStrategy", "workersToDelete") or (scaled and path == ("replicas",)):
                continue
            old, new = at(groups[name], path), at(group, path)
            if old != new:
                found.append(Change(f"pool {name}: {name_of(path)}", old, new, Effect.CLUSTER_PATCH))
    return found


def same_cluster(left: Json, right: Json) -> bool:
    """Whether KubeRay takes two `rayClusterConfig` for the same: equal but for what its hash leaves out."""
    return _hashed(left) == _hashed(right)


def cluster_changes(before: Json, after: Json) -> Iterator[Change]:
    """What changes of a RayService's cluster, and what that does."""
    old, new = before["spec"]["rayClusterConfig"], after["spec"]["rayClusterConfig"]
    groups, wanted = old.get("workerGroupSpecs") or [], new.get("workerGroupSpecs") or []
    if same_cluster(old, new):
        return  # What the hash leaves out is told by `drift`, against the RayCluster itself.
    if len(wanted) > len(groups) and same_cluster(old, {**new, "workerGroupSpecs": wanted[: len(groups)]}):
        for group in wanted[len(groups) :]:
            yield Change(f"pool {group['groupName']}", None, "added at the end", Effect.CLUSTER_UPDATE)
        return
    yield from _group_changes(groups, wanted)
    rest = differences(_hashed(without(old, "workerGroupSpecs")), _hashed(without(new, "workerGroupSpecs")))
    for path, was, now in rest:
        yield Change(f"cluster: {name_of(path)}", was, now, Effect.NEW_CLUSTER)


def _group_changes(groups: Sequence[Json], wanted: Sequence[Json]) -> Iterator[Change]:
    old, new = {g["groupName"]: g for g in groups}, {g["groupName"]: g for g in wanted}
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            was, now = ("there", None) if name in old else (None, "added")
            yield Change(f"pool {name}", was, now, Effect.NEW_CLUSTER)
            continue
        left, right = (_hashed({"workerGroupSpecs": [g[name]]})["workerGroupSpecs"][0] for g in (old, new))
        for path, was, now in differences(left, right):
            yield Change(f"pool {name}: {name_of(path)}", was, now, Effect.NEW_CLUSTER)
    if old.keys() == new.keys() and list(old) != list(new):
        yield Change("cluster: order of pools", ", ".join(old), ", ".join(new), Effect.NEW_CLUSTER)


def _hashed(cluster: Json) -> Json:
    """What KubeRay hashes of a cluster, quantities in their stored form."""
    found = dict(cut(cluster, MUTED_CLUSTER))
    if "headGroupSpec" in found:
        found["headGroupSpec"] = cut(found["headGroupSpec"], MUTED_HEAD)
    if "workerGroupSpecs" in found:
        found["workerGroupSpecs"] = [cut(g, MUTED_GROUP) for g in found["workerGroupSpecs"] or []]
    return cast("Json", with_canonical_quantities(found))
