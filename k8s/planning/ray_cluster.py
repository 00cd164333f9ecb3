"""What KubeRay does with a change of `rayClusterConfig`, and what it does not carry over.

docs/rollouts.md lists the source of each rule.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from k8s.planning.diff import differences, format_path, value_at, without_keys, without_paths
from k8s.planning.plan import Change, Effect
from k8s.resources.quantity import with_canonical_quantities

Json = Mapping[str, Any]

# KubeRay: GenerateHashWithoutReplicasAndWorkersToDelete and rayClusterSpecForHashing leave these out.
UNHASHED_IN_GROUP = (
    ("replicas",),
    ("minReplicas",),
    ("maxReplicas",),
    ("scaleStrategy", "workersToDelete"),
    ("template", "spec", "tolerations"),
    ("template", "spec", "schedulingGates"),
)
UNHASHED_IN_HEAD = (("template", "spec", "tolerations"), ("template", "spec", "schedulingGates"))
UNHASHED_IN_CLUSTER = (("upgradeStrategy",), ("suspend",))


def drift(service: Json, ray_cluster: Json) -> list[Change]:
    """The fields of the serving RayCluster that differ from the RayService and that KubeRay ignores."""
    wanted, current = service["spec"]["rayClusterConfig"], ray_cluster.get("spec") or {}
    scaled = bool(wanted.get("enableInTreeAutoscaling"))
    head, wanted_head = current.get("headGroupSpec"), wanted.get("headGroupSpec")
    found = [
        Change(format_path(("head", *path)), old, new, Effect.CLUSTER_PATCH)
        for path in UNHASHED_IN_HEAD
        if (old := value_at(head, path)) != (new := value_at(wanted_head, path))
    ]
    groups = {g["groupName"]: g for g in current.get("workerGroupSpecs") or []}
    for group in wanted.get("workerGroupSpecs") or []:
        if group["groupName"] in groups:
            found += _group_drift(groups[group["groupName"]], group, scaled=scaled)
    return found


def same_cluster(left: Json, right: Json) -> bool:
    """Whether two `rayClusterConfig` are equal to KubeRay: in everything that its hash covers."""
    return _hashed(left) == _hashed(right)


def cluster_changes(before: Json, after: Json) -> Iterator[Change]:
    """The changes of a RayService's `rayClusterConfig`, with their effects."""
    old, new = before["spec"]["rayClusterConfig"], after["spec"]["rayClusterConfig"]
    groups, wanted = old.get("workerGroupSpecs") or [], new.get("workerGroupSpecs") or []
    if same_cluster(old, new):
        return  # `drift` finds the rest, on the RayCluster itself.
    if len(wanted) > len(groups) and same_cluster(old, {**new, "workerGroupSpecs": wanted[: len(groups)]}):
        for group in wanted[len(groups) :]:
            yield Change(f"pool {group['groupName']}", None, "added at the end", Effect.CLUSTER_UPDATE)
        return
    yield from _group_changes(groups, wanted)
    left, right = (_hashed(without_keys(c, "workerGroupSpecs")) for c in (old, new))
    for path, was, now in differences(left, right):
        yield Change(f"cluster: {format_path(path)}", was, now, Effect.NEW_CLUSTER)


def _group_drift(current: Json, wanted: Json, *, scaled: bool) -> Iterator[Change]:
    for path in UNHASHED_IN_GROUP:
        # Ray's autoscaler owns the number of pods and picks those to delete.
        if path == ("scaleStrategy", "workersToDelete") or (scaled and path == ("replicas",)):
            continue
        old, new = value_at(current, path), value_at(wanted, path)
        if old != new:
            yield Change(f"pool {wanted['groupName']}: {format_path(path)}", old, new, Effect.CLUSTER_PATCH)


def _group_changes(groups: Sequence[Json], wanted: Sequence[Json]) -> Iterator[Change]:
    old, new = {g["groupName"]: g for g in groups}, {g["groupName"]: g for g in wanted}
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            was, now = ("there", None) if name in old else (None, "added")
            yield Change(f"pool {name}", was, now, Effect.NEW_CLUSTER)
            continue
        left, right = (_hashed({"workerGroupSpecs": [g[name]]})["workerGroupSpecs"][0] for g in (old, new))
        for path, was, now in differences(left, right):
            yield Change(f"pool {name}: {format_path(path)}", was, now, Effect.NEW_CLUSTER)
    if old.keys() == new.keys() and list(old) != list(new):
        yield Change("cluster: order of pools", ", ".join(old), ", ".join(new), Effect.NEW_CLUSTER)


def _hashed(cluster: Json) -> Json:
    """The part of a cluster's spec that KubeRay hashes, with quantities in their stored form."""
    found = dict(without_paths(cluster, UNHASHED_IN_CLUSTER))
    if "headGroupSpec" in found:
        found["headGroupSpec"] = without_paths(found["headGroupSpec"], UNHASHED_IN_HEAD)
    if "workerGroupSpecs" in found:
        groups = found["workerGroupSpecs"] or []
        found["workerGroupSpecs"] = [without_paths(g, UNHASHED_IN_GROUP) for g in groups]
    return cast("Json", with_canonical_quantities(found))
