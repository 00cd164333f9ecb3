"""The effect of a change of a RayService in KubeRay and Ray Serve, field by field and model by model.

docs/rollouts.md lists the source of each rule.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from k8s.planning.diff import Path, differences, format_path, value_at, without_keys, without_paths
from k8s.planning.plan import Change, Effect, Plan
from k8s.resources.quantity import with_canonical_quantities
from k8s.resources.rayservice import serve_applications, serve_config

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
Json = Mapping[str, Any]
# Ray Serve: ray/serve/_private/deploy_utils.py get_app_code_version, ray/serve/_private/version.py.
APPLICATION_RESTARTS = ("import_path", "runtime_env", "args", "autoscaling_policy")
DEPLOYMENT_RESTARTS = (
    "ray_actor_options",
    "placement_group_bundles",
    "placement_group_strategy",
    "placement_group_bundle_label_selector",
    "placement_group_fallback_strategy",
    "max_replicas_per_node",
    "gang_scheduling_config",
    "deployment_actors",
    "request_router_config",
)
# Serve reads these when its proxies start; a later change only logs a warning.
SERVE_ONCE = ("http_options", "grpc_options", "proxy_location")


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


def classify(before: Json | None, after: Json, ray_cluster: Json | None = None) -> Plan:
    """The plan for changing RayService `before` to `after`, with the RayCluster that serves now.

    Both services as the API server stores them, with defaults; `before` is None for a first installation.
    """
    apps = serve_applications(after)
    if before is None:
        return Plan((), dict.fromkeys(apps, Effect.NEW_CLUSTER), first=True)
    changes = [*_serve_changes(before, after), *_service_changes(before, after)]
    of_cluster = list(cluster_changes(before, after))
    if _strategy(after) == "None":
        of_cluster = [_ignored(c) if c.effect is Effect.NEW_CLUSTER else c for c in of_cluster]
    changes += of_cluster
    if not any(c.effect is Effect.NEW_CLUSTER for c in of_cluster) and ray_cluster is not None:
        changes += drift(after, ray_cluster)
    models = {name: _effect_on(name, changes) for name in sorted(apps | serve_applications(before))}
    alone = tuple(
        n for n, e in models.items() if e is Effect.REPLICA_RESTART and _restarts_alone(apps.get(n))
    )
    return Plan(tuple(changes), models, restarts_alone=alone)


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


def _serve_changes(before: Json, after: Json) -> Iterator[Change]:
    old, new = serve_config(before), serve_config(after)
    for key in sorted((old.keys() | new.keys()) - {"applications"}):
        if old.get(key) != new.get(key):
            effect = Effect.IGNORED if key in SERVE_ONCE else Effect.IN_PLACE
            yield Change(f"serve: {key}", old.get(key), new.get(key), effect)
    apps, wanted = serve_applications(before), serve_applications(after)
    for name in sorted(apps.keys() | wanted.keys()):
        if name not in wanted:
            yield Change(f"model {name}", "served", None, Effect.IN_PLACE, (name,))
        elif name not in apps:
            yield Change(f"model {name}", None, "served", Effect.IN_PLACE, (name,))
        else:
            yield from _application_changes(name, apps[name], wanted[name])


def _application_changes(name: str, old: Json, new: Json) -> Iterator[Change]:
    for path, before, after in differences(
        without_keys(old, "deployments"), without_keys(new, "deployments")
    ):
        effect = Effect.REPLICA_RESTART if path[0] in APPLICATION_RESTARTS else Effect.IN_PLACE
        yield Change(f"model {name}: {format_path(path)}", before, after, effect, (name,))
    was = {d["name"]: d for d in old.get("deployments") or []}
    now = {d["name"]: d for d in new.get("deployments") or []}
    for deployment in sorted(was.keys() | now.keys()):
        for path, before, after in differences(was.get(deployment, {}), now.get(deployment, {})):
            effect = _deployment_effect(path, before, after)
            yield Change(f"model {name}: {format_path(path)}", before, after, effect, (name,))


def _deployment_effect(path: Path, before: Any, after: Any) -> Effect:  # noqa: ANN401 - JSON of any shape
    if path and path[0] in DEPLOYMENT_RESTARTS:
        return Effect.REPLICA_RESTART
    # The policy is part of the code's version, and the default policy counts: so turning autoscaling on or
    # off restarts replicas, while its bounds change in place.
    whole = path == ("autoscaling_config",) and (before is None) != (after is None)
    if whole or path[:2] == ("autoscaling_config", "policy"):
        return Effect.REPLICA_RESTART
    return Effect.IN_PLACE


def _service_changes(before: Json, after: Json) -> Iterator[Change]:
    skip = ("serveConfigV2", "rayClusterConfig")
    for path, old, new in differences(
        without_keys(before["spec"], *skip), without_keys(after["spec"], *skip)
    ):
        yield Change(f"service: {format_path(path)}", old, new, Effect.IN_PLACE)


def _effect_on(model: str, changes: Sequence[Change]) -> Effect:
    mine = [
        c.effect for c in changes if model in c.models or (not c.models and c.effect is Effect.NEW_CLUSTER)
    ]
    return max(mine, default=Effect.NOTHING)


def _restarts_alone(app: Json | None) -> bool:
    deployments = (app or {}).get("deployments") or [{}]
    return any((d.get("num_replicas") or 1) == 1 and not d.get("max_surge_percent") for d in deployments)


def _ignored(change: Change) -> Change:
    return Change(change.field, change.before, change.after, Effect.IGNORED, change.models)


def _strategy(service: Json) -> str | None:
    return (service["spec"].get("upgradeStrategy") or {}).get("type")
