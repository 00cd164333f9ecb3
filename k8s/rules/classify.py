"""What KubeRay and Ray Serve will do with a change of a RayService, field by field and model by model. Pure.

The sources of each rule are in docs/rollouts.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from k8s.rules.change import Change, Effect, Plan
from k8s.rules.fields import Path, differences, name_of, without
from k8s.rules.ray_cluster import cluster_changes, drift

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
# Ray Serve starts its proxies once; a later change of these only logs a warning.
SERVE_ONCE = ("http_options", "grpc_options", "proxy_location")


def classify(before: Json | None, after: Json, cluster: Json | None = None) -> Plan:
    """What turning RayService `before` into `after` does; `cluster` is the RayCluster that serves now.

    Both services as the API server gives them, defaults filled in; `before` is None for a first installation.
    """
    apps = _applications(after)
    if before is None:
        return Plan((), dict.fromkeys(apps, Effect.NEW_CLUSTER), first=True)
    changes = [*_serve_changes(before, after), *_service_changes(before, after)]
    of_cluster = list(cluster_changes(before, after))
    if _strategy(after) == "None":
        of_cluster = [_ignored(c) for c in of_cluster]
    changes += of_cluster
    if not any(c.effect is Effect.NEW_CLUSTER for c in of_cluster) and cluster is not None:
        changes += drift(after, cluster)
    models = {name: _on(name, changes) for name in sorted(apps | _applications(before))}
    alone = tuple(n for n, e in models.items() if e is Effect.REPLICA_RESTART and _alone(apps.get(n)))
    return Plan(tuple(changes), models, restarts_alone=alone)


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
    for path, before, after in differences(without(old, "deployments"), without(new, "deployments")):
        effect = Effect.REPLICA_RESTART if path[0] in APPLICATION_RESTARTS else Effect.IN_PLACE
        yield Change(f"model {name}: {name_of(path)}", before, after, effect, (name,))
    was = {d["name"]: d for d in old.get("deployments") or []}
    now = {d["name"]: d for d in new.get("deployments") or []}
    for deployment in sorted(was.keys() | now.keys()):
        for path, before, after in differences(was.get(deployment, {}), now.get(deployment, {})):
            yield Change(
                f"model {name}: {name_of(path)}",
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
    for path, old, new in differences(without(before["spec"], *skip), without(after["spec"], *skip)):
        yield Change(f"service: {name_of(path)}", old, new, Effect.IN_PLACE)


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
