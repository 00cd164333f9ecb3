"""Returning to a former revision: without a third cluster, and with no pending one left."""

from collections.abc import Callable
from typing import Any

from k8s.clients.helm import Release, last_deployed, stuck
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.clients.retry import Clock
from k8s.planning.effects import same_cluster
from k8s.planning.verdict import Target
from k8s.resources.rayservice import (
    active_cluster,
    pending_cluster,
    serve_applications,
    upgrades_incrementally,
)
from k8s.resources.snapshot import Snapshot
from k8s.rollout import hold
from k8s.rollout.align import align
from k8s.rollout.propose import ray_service
from k8s.rollout.teardown import Teardown
from k8s.rollout.watch import Observer, watch

Json = dict[str, Any]
Say = Callable[[str], None]


class Rollback:
    """Returns a release to a former revision."""

    def __init__(self, client: KubernetesClient, release: Release, name: str, say: Say) -> None:
        self._client = client
        self._release = release
        self._name = name
        self._say = say
        self._teardown = Teardown(client, name, say)

    def apply(self, revision: int) -> None:
        """Apply a former revision; if the cluster that serves is that revision's, it goes on serving."""
        wanted = ray_service(self._release.manifest(revision))
        before = self._teardown.service()
        pending, active = pending_cluster(before), active_cluster(before)
        if pending and active and upgrades_incrementally(before) and upgrades_incrementally(wanted):
            self._say(f"KubeRay moves the traffic from {pending} back to {active}")
        if wanted:
            # First, or a pending cluster could get the restored Serve config and take over.
            hold.abandon(self._teardown, wanted)
        self._client.guard()
        self._release.rollback(revision)
        if wanted:
            self._teardown.restore_strategy(wanted["spec"].get("upgradeStrategy"))
            hold.release(self._client, wanted)

    def watch(self, timeout_s: float, pods: Pods, clock: Clock) -> None:
        """Watch until the restored spec serves and nothing is left. Raises RolloutError at the deadline."""
        path = f"{self._client.ray}/rayservices/{self._name}"
        found = self._client.get(path)
        # Failures on the way belong to the rollout that was given up; only the deadline ends the wait.
        generation = found["metadata"]["generation"]
        target = Target(generation, serve_applications(found), ignore_failures=True)
        observer = Observer(self._client, pods, self._name)
        align(self._client, found, self._say, shrink=True, seen=observer.snapshot())

        def observe() -> Snapshot:
            seen = observer.snapshot()
            if seen.service and seen.service.pending and seen.service.active:
                self._drop_needless(self._client.get(path))
            return seen

        watch(observe, target, timeout_s=timeout_s, say=self._say, clock=clock)

    def _drop_needless(self, service: Json) -> None:
        """Delete a pending cluster where the active one already has the wanted spec."""
        path = f"{self._client.ray}/rayclusters/{active_cluster(service)}"
        active = self._client.find(path)
        if active and same_cluster(active["spec"], service["spec"]["rayClusterConfig"]):
            strategy = service["spec"].get("upgradeStrategy")
            self._teardown.drop_pending()
            self._teardown.restore_strategy(strategy)


def unstick(client: KubernetesClient, release: Release, say: Say) -> None:
    """Free a release that a dead helm process left pending; Helm would refuse every upgrade."""
    history = release.history()
    if not stuck(history):
        return
    good = last_deployed(history)
    say(f"revision {history[-1].number} is {history[-1].status}: a helm process died; cleaning up")
    if good is None:
        release.uninstall()
        return
    service = ray_service(release.manifest(good))
    name = service["metadata"]["name"] if service else release.name
    Rollback(client, release, name, say).apply(good)
