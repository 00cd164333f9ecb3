"""The verdict on a rollout: a snapshot compared with the target, the state that the rollout works towards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from k8s.planning import failures
from k8s.planning.failures import SCHEDULING_GRACE_S, Failure
from k8s.planning.proposal import Proposal
from k8s.resources.pod import Pod
from k8s.resources.rayservice import RayService, replica_bounds, serve_applications, worker_counts
from k8s.resources.serve import HEALTHY, RUNNING, ServeApplication, ServeDeployment, contains
from k8s.resources.snapshot import Event, Snapshot, waits_for_download

Json = Mapping[str, Any]

# An application that cannot start, by which a comparison holds KubeRay's switch (rollout/hold.py).
HOLD = "capstan-hold"


@dataclass(frozen=True, slots=True)
class Target:
    """These applications, at this generation, on a new cluster or the old one."""

    generation: int
    configs: Mapping[str, Json]
    new_cluster: bool = False
    old_cluster: str = ""
    deployed_before: Mapping[str, float] = field(default_factory=dict)
    """When Serve last deployed each application before the change, in Serve's own time."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """How many worker pods each pool must have; other pools can have any number."""
    placeable_since: datetime | None = None
    """When the old cluster's pods were gone, where it is deleted first; before, no pod could be placed."""
    scheduling_grace_s: float = SCHEDULING_GRACE_S
    """How long a pod may be without a node that fits."""
    ignore_failures: bool = False
    """Whether to wait until the deadline whatever fails."""
    held: bool = False
    """Whether an application of the name HOLD keeps KubeRay from switching to the new cluster."""


def target_of(proposal: Proposal, generation: int, deployed: Mapping[str, float]) -> Target:
    """The target of a proposal that is stored as that generation."""
    changed = {c.models[0] for c in proposal.plan.changes if len(c.models) == 1}
    return Target(
        generation=generation,
        configs=serve_applications(proposal.after),
        new_cluster=proposal.new_cluster,
        old_cluster=proposal.ray_cluster["metadata"]["name"] if proposal.ray_cluster else "",
        deployed_before={name: at for name, at in deployed.items() if name in changed},
    )


def fixed_pools(service: Json) -> dict[str, int]:
    """How many worker pods each pool of a RayService has; empty where Ray's autoscaler decides."""
    cluster = service["spec"]["rayClusterConfig"]
    if cluster.get("enableInTreeAutoscaling"):
        return {}
    return worker_counts(cluster)


class State(Enum):
    """The state of a rollout."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state, and the reason in one sentence."""

    state: State
    sentence: str
    failure: Failure | None = None


def judge(seen: Snapshot, target: Target) -> Verdict:  # noqa: PLR0911 - one condition after another
    """Whether the rollout is done, has failed, or what it waits for."""
    service = seen.service
    if service is None:
        return waiting("the RayService does not exist yet")
    read = service.observed_generation
    if read < target.generation:
        return waiting(f"KubeRay has not read generation {target.generation} yet (it read {read})")
    name = service.pending or service.active
    if not name:
        return waiting("KubeRay has not created a cluster yet")
    failure = _failure(seen, target, name)
    if failure and not target.ignore_failures:
        return Verdict(State.FAILED, failure.sentence, failure)
    if target.new_cluster and not service.pending and name == target.old_cluster:
        return waiting("KubeRay has not started the new cluster yet")
    if missing := _unfinished_apps(seen, target, name) or _uneven_pools(seen, target, name):
        return waiting(missing)
    return _held(seen, service, name) if target.held else _switched(seen, service, name)


def waiting(sentence: str) -> Verdict:
    """The verdict that something is still missing."""
    return Verdict(State.WAITING, sentence)


def _switched(seen: Snapshot, service: RayService, ray_cluster: str) -> Verdict:
    if service.pending:
        return waiting(f"every application runs on {ray_cluster}; KubeRay has not switched the traffic yet")
    if not service.ready:
        return waiting("the RayService is not Ready: no pod answers as a proxy")
    if left := [c for c in seen.ray_clusters if c != ray_cluster]:
        return waiting(f"{', '.join(left)}: replaced, but not deleted yet")
    return Verdict(State.DONE, f"every application runs as configured on {ray_cluster}")


def _held(seen: Snapshot, service: RayService, ray_cluster: str) -> Verdict:
    if service.pending:
        if HOLD not in [a.name for a in seen.apps.get(ray_cluster, ())]:
            return waiting(f"Serve on {ray_cluster} has not taken the application {HOLD} yet")
        return Verdict(State.DONE, f"every application runs on {ray_cluster}, which takes no traffic yet")
    sentence = f"KubeRay switched to {ray_cluster} before the comparison"
    return Verdict(State.FAILED, sentence, Failure("Switched", sentence))


def _failure(seen: Snapshot, target: Target, ray_cluster: str) -> Failure | None:
    pods = [p for p in seen.pods if p.cluster == ray_cluster]
    # A pod of the Job that ended is one of its attempts, and no failure of the rollout yet.
    job_pods = [p for p in seen.download.pods if p.phase == "Pending"] if seen.download else []
    retries = {name: _startup_retries(config) for name, config in target.configs.items()}
    apps = [a for a in seen.apps.get(ray_cluster, ()) if _has_config(a, target)]
    return (
        failures.of_apps(apps, retries)
        or failures.of_download(seen.download, pods)
        or failures.of_pods(
            [*pods, *job_pods], seen.events, seen.now, target.placeable_since, target.scheduling_grace_s
        )
        or failures.of_events(seen.events, [ray_cluster])
    )


def _startup_retries(config: Json) -> int:
    """How often Serve tries to start a replica (ray/serve/_private/deployment_state.py)."""
    maximum = max((most for _, most in replica_bounds(config).values()), default=1)
    return min(3 * maximum, 20)


def _has_config(app: ServeApplication, target: Target) -> bool:
    """Whether Serve works towards the target's config of this application."""
    wanted = target.configs.get(app.name)
    if wanted is None:
        return False
    before = target.deployed_before.get(app.name)
    return contains(app.config, wanted) or (before is not None and app.deployed_at > before)


def _unfinished_apps(seen: Snapshot, target: Target, ray_cluster: str) -> str | None:
    """What is missing on a cluster, or None where every application runs as configured."""
    apps = {a.name: a for a in seen.apps.get(ray_cluster, ())}
    if not apps:
        return _missing_pods(seen, ray_cluster)
    for name, config in target.configs.items():
        app = apps.get(name)
        if app is None or not _has_config(app, target):
            return f"{name}: Serve on {ray_cluster} has not taken the new config yet"
        bounds = replica_bounds(config)
        for deployment in app.deployments:
            if missing := _unfinished_deployment(deployment, bounds.get(deployment.name)):
                return f"{name}: {missing} on {ray_cluster}"
        if app.status != RUNNING:
            return f"{name} is {app.status or 'unknown'} on {ray_cluster}"
    extra = sorted(apps.keys() - target.configs.keys() - ({HOLD} if target.held else set()))
    return f"{', '.join(extra)}: removed from the config, but still served" if extra else None


def _unfinished_deployment(deployment: ServeDeployment, bounds: tuple[int, int] | None) -> str | None:
    wanted, running = deployment.target_replicas, deployment.running
    least, most = bounds or (wanted, wanted)
    if not least <= wanted <= most:
        return f"Serve aims at {wanted} replicas, the config says {least} to {most}"
    if deployment.status != HEALTHY or running != wanted:
        return f"{running} of {wanted} replicas run ({deployment.status})"
    if stopping := len(deployment.replicas) - wanted:
        return f"{running} of {wanted} replicas run, {stopping} more are stopping"
    return None


def _uneven_pools(seen: Snapshot, target: Target, ray_cluster: str) -> str | None:
    for pool, wanted in target.pools.items():
        count = sum(p.cluster == ray_cluster and p.group == pool and not p.deleting for p in seen.pods)
        if count != wanted:
            return f"pool {pool} has {count} of {wanted} worker pods"
    return None


def _missing_pods(seen: Snapshot, ray_cluster: str) -> str:
    pods = [p for p in seen.pods if p.cluster == ray_cluster and not p.deleting]
    ready = sum(p.ready for p in pods)
    stuck = next((f"; {_no_node(p, seen.events)}" for p in pods if p.unschedulable), "")
    if seen.download and any(map(waits_for_download, pods)):
        stuck += f"; {seen.download.progress}"
    return f"Serve on {ray_cluster} does not answer yet; {ready} of {len(pods)} pods are ready{stuck}"


def _no_node(pod: Pod, events: Sequence[Event]) -> str:
    event = failures.autoscaler_event(pod, events)
    if event is not None and event.reason in failures.NODE_COMES:
        return f"pod {pod.name} waits for a new node"
    return f"pod {pod.name} has no node yet: {pod.unschedulable}"
