"""Keeping the serving RayCluster equal to the RayService in what KubeRay does not carry over."""

from collections.abc import Callable
from typing import Any

from k8s.doors.cluster import Cluster
from k8s.rollout.plan import serving_cluster
from k8s.rules.ray_cluster import MUTED_HEAD
from k8s.state.objects import Pod
from k8s.state.snapshot import Snapshot

Json = dict[str, Any]


def align(
    cluster: Cluster, service: Json, say: Callable[[str], None], *, shrink: bool, seen: Snapshot | None = None
) -> None:
    """Carry replicas, bounds and tolerations of a RayService over to the RayCluster that serves.

    Growing pools first, before Serve wants the room; shrinking ones (`shrink`) only once Serve has taken its
    replicas away, and then the pods without a replica (`seen` says which).
    """
    has = serving_cluster(cluster, service)
    if has is None:
        return
    spec = patched(has["spec"], service["spec"]["rayClusterConfig"], shrink=shrink, idle=idle_pods(seen))
    if spec is not None:
        name = has["metadata"]["name"]
        cluster.patch(f"{cluster.ray}/rayclusters/{name}", {"spec": spec})
        say(f"patched {name} as well, which KubeRay would have left as it was")


def patched(has: Json, wanted: Json, *, shrink: bool, idle: dict[str, list[str]]) -> Json | None:
    """The merge patch of a RayCluster's spec, or None where it is as wanted.

    `idle`: pods without a replica, by pool; of these go first. Lists are replaced whole by a merge patch.
    """
    groups, changed = [], False
    targets = {g["groupName"]: g for g in wanted.get("workerGroupSpecs") or []}
    for group in has.get("workerGroupSpecs") or []:
        new = _group(
            group,
            targets.get(group["groupName"], group),
            scaled=bool(wanted.get("enableInTreeAutoscaling")),
            shrink=shrink,
            idle=idle.get(group["groupName"], []),
        )
        changed = changed or new != group
        groups.append(new)
    patch: Json = {"workerGroupSpecs": groups} if changed else {}
    for path in MUTED_HEAD:
        name = path[-1]
        old = has["headGroupSpec"]["template"]["spec"].get(name)
        new_value = wanted["headGroupSpec"]["template"]["spec"].get(name)
        if old != new_value:
            template = patch.setdefault("headGroupSpec", {}).setdefault("template", {"spec": {}})
            template["spec"][name] = new_value
    return patch or None


def idle_pods(seen: Snapshot | None) -> dict[str, list[str]]:
    """The worker pods that hold no replica, by pool."""
    if seen is None or seen.service is None or seen.service.active is None:
        return {}
    serving = seen.service.active.cluster
    busy = {r.ip for apps in seen.apps.values() for a in apps for d in a.deployments for r in d.replicas}
    found: dict[str, list[str]] = {}
    for pod in sorted(seen.pods, key=_unready_first):
        if pod.cluster == serving and not pod.head and not pod.deleting and pod.ip not in busy:
            found.setdefault(pod.group, []).append(pod.name)
    return found


def _unready_first(pod: Pod) -> tuple[bool, str]:
    return (pod.ready, pod.name)


def _group(has: Json, wanted: Json, *, scaled: bool, shrink: bool, idle: list[str]) -> Json:
    new: Json = {**has}
    for key in ("minReplicas", "maxReplicas", "replicas"):
        if key == "replicas" and scaled:
            continue
        if shrink or (wanted.get(key) or 0) >= (has.get(key) or 0):
            _set(new, key, wanted.get(key))
    if not scaled:
        surplus = (has.get("replicas") or 0) - (new.get("replicas") or 0)
        if surplus < 0:
            new.pop("scaleStrategy", None)  # Names of pods that went before.
        if surplus > 0 and idle:
            new["scaleStrategy"] = {**(has.get("scaleStrategy") or {}), "workersToDelete": idle[:surplus]}
    template = has["template"]["spec"]
    spec = {**template}
    for key in ("tolerations", "schedulingGates"):
        _set(spec, key, wanted["template"]["spec"].get(key))
    if spec != template:
        new["template"] = {**has["template"], "spec": spec}
    return new


def _set(found: Json, key: str, value: Any) -> None:  # noqa: ANN401 - JSON of any shape
    if value is None:
        found.pop(key, None)
    else:
        found[key] = value
