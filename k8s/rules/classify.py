"""What KubeRay and Ray Serve will do with a change of a RayService, field by field and model by model.

The sources of each rule are in docs/rollouts.md. Everything here is pure: objects in, changes out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import yaml

Json = Mapping[str, Any]
Path = tuple[str | int, ...]


class Effect(IntEnum):
    """What a change does, from the least to the most."""

    NOTHING = 0
    IN_PLACE = 1
    CLUSTER_PATCH = 2
    REPLICA_RESTART = 3
    CLUSTER_UPDATE = 4
    IGNORED = 5
    NEW_CLUSTER = 6


SAID = {
    Effect.NOTHING: "nothing to do",
    Effect.IN_PLACE: "in place, no replica restarts",
    Effect.CLUSTER_PATCH: "KubeRay would ignore it; capstan patches the running RayCluster as well",
    Effect.REPLICA_RESTART: "replicas restart one after another on the same cluster",
    Effect.CLUSTER_UPDATE: "KubeRay adds the pool to the running cluster",
    Effect.IGNORED: "takes effect only with the next new cluster",
    Effect.NEW_CLUSTER: "a second cluster starts, takes over and the old one goes",
}

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
# Ray Serve starts its proxies once; a later change of these only logs a warning.
SERVE_ONCE = ("http_options", "grpc_options", "proxy_location")

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


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs, what that does, and to which models (none named: to all)."""

    field: str
    before: Any
    after: Any
    effect: Effect
    models: tuple[str, ...] = ()

    def line(self) -> str:
        """The change as a line for a person. Values of environment variables and arguments stay out."""
        return f"{self.field}: {shown(self.field, self.before)} -> {shown(self.field, self.after)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, and the whole effect on each model."""

    changes: tuple[Change, ...]
    models: Mapping[str, Effect]
    first: bool = False
    restarts_alone: tuple[str, ...] = ()
    """Models whose only replica restarts before its successor is there."""

    @property
    def effect(self) -> Effect:
        """The largest effect there is."""
        return max((c.effect for c in self.changes), default=Effect.NOTHING)

    @property
    def new_cluster(self) -> bool:
        """Whether a second whole cluster starts."""
        return self.first or self.effect is Effect.NEW_CLUSTER

    def lines(self) -> list[str]:
        """The plan for a person."""
        if self.first:
            return ["first installation: a new cluster starts", *(f"  {m}: new" for m in self.models)]
        if not self.changes:
            return ["nothing to do: what runs is what is wanted"]
        found = [f"{SAID[self.effect]}:"]
        found += [f"  {model}: {SAID[effect]}" for model, effect in sorted(self.models.items())]
        found += [f"  - {c.line()} ({SAID[c.effect]})" for c in self.changes]
        found += [
            f"  ! {model} has one replica and no surge: it does not answer while that restarts"
            for model in self.restarts_alone
        ]
        return found


HIDDEN_FIELD = re.compile(r"env_vars|\.env\b|secret|token|password|keys?\b|args", re.IGNORECASE)


def shown(field: str, value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    """A value for a person: short, and hidden where it may be a secret."""
    if value is None:
        return "(none)"
    if HIDDEN_FIELD.search(field) and not isinstance(value, int | float | bool):
        return "(set)"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def classify(before: Json | None, after: Json, cluster: Json | None = None) -> Plan:
    """What turning RayService `before` into `after` does; `cluster` is the RayCluster that serves now.

    Both services as the API server gives them, defaults filled in; `before` is None for a first installation.
    """
    apps = _applications(after)
    if before is None:
        return Plan((), dict.fromkeys(apps, Effect.NEW_CLUSTER), first=True)
    changes = [*_serve_changes(before, after), *_service_changes(before, after)]
    cluster_changes = list(_cluster_changes(before, after))
    if _strategy(after) == "None":
        cluster_changes = [_ignored(c) for c in cluster_changes]
    changes += cluster_changes
    if not any(c.effect is Effect.NEW_CLUSTER for c in cluster_changes) and cluster is not None:
        changes += drift(after, cluster)
    models = {name: _on(name, changes) for name in sorted(apps | _applications(before))}
    alone = tuple(n for n, e in models.items() if e is Effect.REPLICA_RESTART and _alone(apps.get(n)))
    return Plan(tuple(changes), models, restarts_alone=alone)


def drift(service: Json, cluster: Json) -> list[Change]:
    """Where the serving RayCluster differs from the RayService in what KubeRay does not carry over."""
    wanted, has = service["spec"]["rayClusterConfig"], cluster.get("spec") or {}
    scaled = bool(wanted.get("enableInTreeAutoscaling"))
    found = [
        Change(
            _name(("head", *path)),
            _at(has.get("headGroupSpec"), path),
            _at(wanted.get("headGroupSpec"), path),
            Effect.CLUSTER_PATCH,
        )
        for path in MUTED_HEAD
        if _at(has.get("headGroupSpec"), path) != _at(wanted.get("headGroupSpec"), path)
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
            old, new = _at(groups[name], path), _at(group, path)
            if old != new:
                found.append(Change(f"pool {name}: {_name(path)}", old, new, Effect.CLUSTER_PATCH))
    return found


def same_cluster(left: Json, right: Json) -> bool:
    """Whether KubeRay takes two `rayClusterConfig` for the same: equal but for what its hash leaves out."""
    return _without_muted(left) == _without_muted(right)


def differences(before: Any, after: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:  # noqa: ANN401 - JSON
    """The paths at which two JSON values differ, with both. Lists of unlike length differ as a whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, (*path, index))
    elif before != after:
        yield path, before, after


def _serve_changes(before: Json, after: Json) -> Iterator[Change]:
    old, new = _config(before), _config(after)
    for key in sorted((old.keys() | new.keys()) - {"applications"}):
        if old.get(key) != new.get(key):
            effect = Effect.IGNORED if key in SERVE_ONCE else Effect.IN_PLACE
            yield Change(f"serve: {key}", old.get(key), new.get(key), effect)
    apps, wanted = _applications(before), _applications(after)
    for name in sorted(apps.keys() | wanted.keys()):
        if name not in wanted:
            yield Change(f"model {name}", "served", None, Effect.IN_PLACE, (name,))
        elif name not in apps:
            yield Change(f"model {name}", None, "served", Effect.IN_PLACE, (name,))
        else:
            yield from _application_changes(name, apps[name], wanted[name])


def _application_changes(name: str, old: Json, new: Json) -> Iterator[Change]:
    for path, before, after in differences(_without(old, "deployments"), _without(new, "deployments")):
        effect = Effect.REPLICA_RESTART if path[0] in APPLICATION_RESTARTS else Effect.IN_PLACE
        yield Change(f"model {name}: {_name(path)}", before, after, effect, (name,))
    was = {d["name"]: d for d in old.get("deployments") or []}
    now = {d["name"]: d for d in new.get("deployments") or []}
    for deployment in sorted(was.keys() | now.keys()):
        for path, before, after in differences(was.get(deployment, {}), now.get(deployment, {})):
            yield Change(
                f"model {name}: {_name(path)}",
                before,
                after,
                _deployment_effect(path, before, after),
                (name,),
            )


def _deployment_effect(path: Path, before: Any, after: Any) -> Effect:  # noqa: ANN401 - JSON of any shape
    if path and path[0] in DEPLOYMENT_RESTARTS:
        return Effect.REPLICA_RESTART
    # The policy is part of the code's version, and one that is not named counts as one: so autoscaling
    # restarts replicas when it comes or goes, while its bounds change in place.
    whole = path == ("autoscaling_config",) and (before is None) != (after is None)
    if whole or path[:2] == ("autoscaling_config", "policy"):
        return Effect.REPLICA_RESTART
    return Effect.IN_PLACE


def _service_changes(before: Json, after: Json) -> Iterator[Change]:
    skip = ("serveConfigV2", "rayClusterConfig")
    for path, old, new in differences(_without(before["spec"], *skip), _without(after["spec"], *skip)):
        yield Change(f"service: {_name(path)}", old, new, Effect.IN_PLACE)


def _cluster_changes(before: Json, after: Json) -> Iterator[Change]:
    old, new = before["spec"]["rayClusterConfig"], after["spec"]["rayClusterConfig"]
    groups, wanted = old.get("workerGroupSpecs") or [], new.get("workerGroupSpecs") or []
    if same_cluster(old, new):
        return  # What the hash leaves out is told by `drift`, against the RayCluster itself.
    if len(wanted) > len(groups) and same_cluster(old, {**new, "workerGroupSpecs": wanted[: len(groups)]}):
        for group in wanted[len(groups) :]:
            yield Change(f"pool {group['groupName']}", None, "added at the end", Effect.CLUSTER_UPDATE)
        return
    yield from _group_changes(groups, wanted)
    rest = differences(
        _without_muted(_without(old, "workerGroupSpecs")), _without_muted(_without(new, "workerGroupSpecs"))
    )
    for path, was, now in rest:
        yield Change(f"cluster: {_name(path)}", was, now, Effect.NEW_CLUSTER)


def _group_changes(groups: Sequence[Json], wanted: Sequence[Json]) -> Iterator[Change]:
    old, new = {g["groupName"]: g for g in groups}, {g["groupName"]: g for g in wanted}
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old:
            was, now = ("there", None) if name in old else (None, "added")
            yield Change(f"pool {name}", was, now, Effect.NEW_CLUSTER)
            continue
        for path, was, now in differences(_cut(old[name], MUTED_GROUP), _cut(new[name], MUTED_GROUP)):
            yield Change(f"pool {name}: {_name(path)}", was, now, Effect.NEW_CLUSTER)
    if old.keys() == new.keys() and list(old) != list(new):
        yield Change("cluster: order of pools", ", ".join(old), ", ".join(new), Effect.NEW_CLUSTER)


def _without_muted(cluster: Json) -> Json:
    found = dict(_cut(cluster, MUTED_CLUSTER))
    if "headGroupSpec" in found:
        found["headGroupSpec"] = _cut(found["headGroupSpec"], MUTED_HEAD)
    if "workerGroupSpecs" in found:
        found["workerGroupSpecs"] = [_cut(g, MUTED_GROUP) for g in found["workerGroupSpecs"] or []]
    return found


def _cut(value: Json, paths: Sequence[tuple[str, ...]]) -> Json:
    """The value without those paths; a map that this leaves empty goes too."""
    found = dict(value)
    for path in paths:
        head, rest = path[0], path[1:]
        if head not in found:
            continue
        if not rest:
            del found[head]
        elif isinstance(found[head], Mapping):
            found[head] = _cut(found[head], [rest])
            if not found[head]:
                del found[head]
    return found


def _on(model: str, changes: Sequence[Change]) -> Effect:
    mine = [
        c.effect for c in changes if model in c.models or (not c.models and c.effect is Effect.NEW_CLUSTER)
    ]
    return max(mine, default=Effect.NOTHING)


def _alone(app: Json | None) -> bool:
    deployments = (app or {}).get("deployments") or [{}]
    return any((d.get("num_replicas") or 1) == 1 and not d.get("max_surge_percent") for d in deployments)


def _ignored(change: Change) -> Change:
    return Change(change.field, change.before, change.after, Effect.IGNORED, change.models)


def _strategy(service: Json) -> str | None:
    return (service["spec"].get("upgradeStrategy") or {}).get("type")


def _config(service: Json) -> Json:
    return yaml.safe_load(service["spec"].get("serveConfigV2") or "") or {}


def _applications(service: Json) -> dict[str, Json]:
    return {a.get("name", "default"): a for a in _config(service).get("applications") or []}


def _without(value: Json, *keys: str) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in keys}


def _at(value: Any, path: Path) -> Any:  # noqa: ANN401 - JSON of any shape
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _name(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(all)"
