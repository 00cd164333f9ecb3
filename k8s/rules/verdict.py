"""The verdict on a rollout: what is seen against what is wanted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from k8s.rules import failures
from k8s.rules.failures import Failure
from k8s.rules.goal import Goal
from k8s.state.serve import HEALTHY, RUNNING, App, replicas_wanted, takes
from k8s.state.snapshot import Snapshot

Json = Mapping[str, Any]


class State(Enum):
    """What a verdict says."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state, and the sentence that says why."""

    state: State
    sentence: str
    failure: Failure | None = None


def judge(seen: Snapshot, goal: Goal) -> Verdict:  # noqa: PLR0911 - one condition after another
    """Whether the rollout is done, has failed, or what it waits for."""
    service = seen.service
    if service is None:
        return waiting("the RayService does not exist yet")
    if service.observed < goal.generation:
        return waiting(f"KubeRay has not read generation {goal.generation} yet (it read {service.observed})")
    target = service.pending or service.active
    if target is None:
        return waiting("KubeRay has made no cluster yet")
    failure = _failure(seen, goal, target.cluster)
    if failure and not goal.patient:
        return Verdict(State.FAILED, failure.sentence, failure)
    if goal.new_cluster and service.pending is None and target.cluster == goal.old_cluster:
        return waiting("KubeRay has not begun the new cluster yet")
    if missing := _unfinished(seen, goal, target.cluster) or _uneven(seen, goal, target.cluster):
        return waiting(missing)
    if service.pending is not None:
        return waiting(f"every application runs on {target.cluster}; KubeRay has not moved the traffic yet")
    if not service.ready:
        return waiting("the RayService is not Ready: no pod answers as a proxy")
    left = [c for c in seen.clusters if c != target.cluster]
    if left:
        return waiting(f"{', '.join(left)}: served its last requests, not deleted yet")
    return Verdict(State.DONE, f"every application runs as wanted on {target.cluster}")


def waiting(sentence: str) -> Verdict:
    """The verdict that something is still missing."""
    return Verdict(State.WAITING, sentence)


def _failure(seen: Snapshot, goal: Goal, cluster: str) -> Failure | None:
    pods = [p for p in seen.pods if p.cluster == cluster]
    retries = {name: _retries(config) for name, config in goal.configs.items()}
    apps = [a for a in seen.apps.get(cluster, ()) if _taken(a, goal)]
    return (
        failures.of_apps(apps, retries)
        or failures.of_pods(pods, seen.events, seen.now, goal.room_since)
        or failures.of_events(seen.events, [cluster])
    )


def _retries(config: Json) -> int:
    most = max((most for _, most in replicas_wanted(config).values()), default=1)
    return min(3 * most, 20)


def _taken(app: App, goal: Goal) -> bool:
    """Whether Serve works towards the wanted config of this application."""
    wanted = goal.configs.get(app.name)
    if wanted is None:
        return False
    before = goal.deployed_before.get(app.name)
    return takes(app.config, wanted) or (before is not None and app.deployed_at > before)


def _unfinished(seen: Snapshot, goal: Goal, cluster: str) -> str | None:  # noqa: PLR0911
    """What is missing on a cluster, or None where every application runs as wanted."""
    apps = {a.name: a for a in seen.apps.get(cluster, ())}
    if not apps:
        return _pods_missing(seen, cluster)
    for name, config in goal.configs.items():
        app = apps.get(name)
        if app is None or not _taken(app, goal):
            return f"{name}: Serve on {cluster} has not taken the new config yet"
        for deployment in app.deployments:
            least, most = replicas_wanted(config).get(deployment.name, (deployment.wanted, deployment.wanted))
            counted = f"{name}: {deployment.running} of {deployment.wanted} replicas run"
            if not least <= deployment.wanted <= most:
                return f"{name}: Serve aims at {deployment.wanted} replicas, wanted are {least} to {most}"
            if deployment.status != HEALTHY or deployment.running != deployment.wanted:
                return f"{counted} ({deployment.status}) on {cluster}"
            if len(deployment.replicas) != deployment.wanted:
                left = len(deployment.replicas) - deployment.wanted
                return f"{counted}, {left} more are stopping on {cluster}"
        if app.status != RUNNING:
            return f"{name} is {app.status or 'not known'} on {cluster}"
    extra = sorted(apps.keys() - goal.configs.keys())
    return f"{', '.join(extra)}: still served, though no longer wanted" if extra else None


def _uneven(seen: Snapshot, goal: Goal, cluster: str) -> str | None:
    for pool, wanted in goal.pools.items():
        has = sum(p.cluster == cluster and p.group == pool and not p.deleting for p in seen.pods)
        if has != wanted:
            return f"pool {pool} has {has} of {wanted} worker pods"
    return None


def _pods_missing(seen: Snapshot, cluster: str) -> str:
    pods = [p for p in seen.pods if p.cluster == cluster and not p.deleting]
    ready = sum(p.ready for p in pods)
    return f"Serve on {cluster} does not answer yet; {ready} of {len(pods)} pods are ready"
