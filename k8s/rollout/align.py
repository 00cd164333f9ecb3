"""Aligning the serving RayCluster with the RayService in the fields that KubeRay ignores."""

from collections.abc import Callable, Mapping
from typing import Any

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.retry import INTERVAL_S, Clock
from k8s.errors import RefusedError, RolloutError
from k8s.planning.effects import UNHASHED_IN_HEAD, same_cluster
from k8s.planning.verdict import Target, fixed_pools
from k8s.resources.pod import Pod
from k8s.resources.rayservice import RayService, serve_applications, worker_counts
from k8s.resources.snapshot import Snapshot
from k8s.rollout.propose import serving_cluster
from k8s.rollout.watch import Observer, watch

Json = dict[str, Any]
Say = Callable[[str], None]


def align_release(
    client: KubernetesClient, observer: Observer, say: Say, *, timeout_s: float, clock: Clock
) -> None:
    """Give the serving RayCluster the counts, bounds and tolerations of the RayService: up first, down last.

    A pool shrinks once every replica runs that Serve is to run, and loses only pods without one. Idempotent.
    Raises RefusedError where the RayService does not exist, and RolloutError where the cluster is not aligned
    within `timeout_s` seconds.
    """
    end = clock.monotonic() + timeout_s
    service = _observed(observer, end, clock)
    status, wanted = RayService.from_api(service), service["spec"]["rayClusterConfig"]
    ray_cluster = serving_cluster(client, service)
    if ray_cluster is None:
        say("no RayCluster serves yet; KubeRay starts it with the configured pods")
        return
    if status.pending or not same_cluster(ray_cluster["spec"], wanted):
        say(f"KubeRay replaces RayCluster {status.active}; the new one starts with the configured pods")
        return
    current = worker_counts(ray_cluster["spec"])
    for pool, count in fixed_pools(service).items():
        change = f"{current[pool]} -> {count}" if count != current[pool] else f"{count}, as configured"
        say(f"pool {pool}: worker pods {change}")
    align(client, service, say, shrink=False)
    ray_cluster = serving_cluster(client, service)
    if ray_cluster is None or cluster_patch(ray_cluster["spec"], wanted, shrink=True, idle={}) is None:
        return
    target = Target(status.generation, serve_applications(service))
    left_s = end - clock.monotonic()
    seen = watch(observer.snapshot, target, timeout_s=left_s, say=say, clock=clock)
    _check_surplus(worker_counts(ray_cluster["spec"]), fixed_pools(service), idle_pods(seen))
    align(client, service, say, shrink=True, seen=seen)


def _observed(observer: Observer, end: float, clock: Clock) -> Json:
    """The RayService, once KubeRay has seen its newest generation."""
    while True:
        service = observer.service()
        if service is None:
            raise RefusedError("the RayService does not exist; check --release and --namespace")
        status = RayService.from_api(service)
        if status.observed_generation >= status.generation:
            return service
        if clock.monotonic() >= end:
            raise RolloutError(
                f"KubeRay has not seen generation {status.generation} of RayService {status.name}; "
                "check that its operator runs (capstan doctor)"
            )
        clock.sleep(INTERVAL_S)


def _check_surplus(current: Mapping[str, int], wanted: Mapping[str, int], idle: dict[str, list[str]]) -> None:
    """Raise RolloutError where a pool would lose a pod that holds a replica."""
    for pool, count in wanted.items():
        surplus, free = current.get(pool, 0) - count, len(idle.get(pool, []))
        if surplus > free:
            raise RolloutError(
                f"pool {pool} is to lose {surplus} of {current[pool]} worker pods, but only {free} hold no "
                "replica; nothing was deleted. Lower the replicas of its models, or raise its pods"
            )


def align(
    client: KubernetesClient,
    service: Json,
    say: Say,
    *,
    shrink: bool,
    seen: Snapshot | None = None,
) -> None:
    """Copy replicas, bounds and tolerations of a RayService to the RayCluster that serves.

    Pools grow before Serve needs the nodes. They shrink (`shrink`) only after Serve has stopped its replicas,
    and lose the pods that hold none (by `seen`).
    """
    ray_cluster = serving_cluster(client, service)
    if ray_cluster is None:
        return
    wanted = service["spec"]["rayClusterConfig"]
    spec = cluster_patch(ray_cluster["spec"], wanted, shrink=shrink, idle=idle_pods(seen))
    if spec is not None:
        name = ray_cluster["metadata"]["name"]
        client.patch(f"{client.ray}/rayclusters/{name}", {"spec": spec})
        say(f"patched RayCluster {name}, which KubeRay does not update")


def cluster_patch(current: Json, wanted: Json, *, shrink: bool, idle: dict[str, list[str]]) -> Json | None:
    """The merge patch of a RayCluster's spec, or None where nothing differs.

    `idle`: pods without a replica, by pool; these are deleted first. A merge patch replaces whole lists.
    """
    targets = {g["groupName"]: g for g in wanted.get("workerGroupSpecs") or []}
    groups = current.get("workerGroupSpecs") or []
    new_groups = [
        _aligned_group(
            group,
            targets.get(group["groupName"], group),
            scaled=bool(wanted.get("enableInTreeAutoscaling")),
            shrink=shrink,
            idle=idle.get(group["groupName"], []),
        )
        for group in groups
    ]
    patch: Json = {"workerGroupSpecs": new_groups} if new_groups != groups else {}
    head = _changed_head(current, wanted)
    if head:
        patch["headGroupSpec"] = {"template": {"spec": head}}
    return patch or None


def _changed_head(current: Json, wanted: Json) -> Json:
    old, new = (c["headGroupSpec"]["template"]["spec"] for c in (current, wanted))
    fields = [path[-1] for path in UNHASHED_IN_HEAD]
    return {name: new.get(name) for name in fields if old.get(name) != new.get(name)}


def idle_pods(seen: Snapshot | None) -> dict[str, list[str]]:
    """The worker pods of the serving cluster that hold no replica, by pool."""
    if seen is None or seen.service is None or not seen.service.active:
        return {}
    busy = {r.ip for apps in seen.apps.values() for a in apps for d in a.deployments for r in d.replicas}
    found: dict[str, list[str]] = {}
    for pod in sorted(seen.pods, key=_unready_first):
        if pod.cluster == seen.service.active and not pod.head and not pod.deleting and pod.ip not in busy:
            found.setdefault(pod.group, []).append(pod.name)
    return found


def _unready_first(pod: Pod) -> tuple[bool, str]:
    return (pod.ready, pod.name)


def _aligned_group(current: Json, wanted: Json, *, scaled: bool, shrink: bool, idle: list[str]) -> Json:
    new: Json = {**current}
    for key in ("minReplicas", "maxReplicas", "replicas"):
        if key == "replicas" and scaled:
            continue
        if shrink or (wanted.get(key) or 0) >= (current.get(key) or 0):
            _set(new, key, wanted.get(key))
    if not scaled:
        surplus = (current.get("replicas") or 0) - (new.get("replicas") or 0)
        if surplus < 0:
            new.pop("scaleStrategy", None)  # It names pods that are gone.
        if surplus > 0 and idle:
            new["scaleStrategy"] = {**(current.get("scaleStrategy") or {}), "workersToDelete": idle[:surplus]}
    template = current["template"]["spec"]
    spec = {**template}
    for key in ("tolerations", "schedulingGates"):
        _set(spec, key, wanted["template"]["spec"].get(key))
    if spec != template:
        new["template"] = {**current["template"], "spec": spec}
    return new


def _set(found: Json, key: str, value: Any) -> None:  # noqa: ANN401 - JSON of any shape
    if value is None:
        found.pop(key, None)
    else:
        found[key] = value
