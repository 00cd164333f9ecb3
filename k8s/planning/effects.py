"""The effect of a change of a RayService in KubeRay and Ray Serve, field by field and model by model.

docs/rollouts.md lists the source of each rule.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k8s.planning.diff import Path, differences, format_path, without_keys
from k8s.planning.plan import Change, Effect, Plan
from k8s.planning.ray_cluster import cluster_changes, drift
from k8s.resources.rayservice import serve_applications, serve_config

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
