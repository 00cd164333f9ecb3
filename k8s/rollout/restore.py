"""Going back: the former revision's spec without a third cluster, and no pending one left over.

While there is a pending cluster, KubeRay 1.7 compares a new spec with that alone (`shouldPrepareNewCluster`).
So a spec that returns to what already serves makes KubeRay start one more cluster, which needs room and takes
over from a healthy one. Instead: `upgradeStrategy` None while the spec returns, the pending cluster struck
from the status, its RayCluster deleted, and the strategy as it was.
"""

from collections.abc import Callable
from typing import Any

from k8s.doors.cluster import Cluster
from k8s.doors.pods import Pods
from k8s.doors.release import Release, last_deployed, stuck
from k8s.rollout.active import align
from k8s.rollout.observe import Observer
from k8s.rollout.watch import Clock, watch
from k8s.rules.goal import Goal
from k8s.rules.ray_cluster import same_cluster
from k8s.state.serve import config_of
from k8s.state.snapshot import Snapshot

Json = dict[str, Any]


class Restorer:
    """Puts a release back to a former revision."""

    def __init__(self, cluster: Cluster, release: Release, name: str, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._release = release
        self._name = name
        self._path = f"{cluster.ray}/rayservices/{name}"
        self._say = say

    def go_back(self, revision: int) -> None:
        """Apply a former revision; where the cluster that serves is that revision's, it goes on serving."""
        wanted = next(o for o in self._release.manifest(revision) if o.get("kind") == "RayService")
        before = self._cluster.find(self._path)
        if before is not None and _pending(before) and _active(before):
            self._freeze()
        self._release.rollback(revision)
        self.drop_pending()
        self.thaw(wanted["spec"].get("upgradeStrategy"))

    def drop_pending(self) -> None:
        """Strike the pending cluster, which belongs to a rollout that was given up, and delete it.

        The service is frozen afterwards; `thaw` ends that.
        """
        found = self._cluster.find(self._path)
        if found is None or not _pending(found) or not _active(found):
            return
        pending = _pending(found)
        self._say(f"dropping {pending}, the cluster of a rollout that did not finish")
        self._freeze()
        self._cluster.patch(f"{self._path}/status", {"status": {"pendingServiceStatus": None}})
        self._cluster.delete(f"{self._cluster.ray}/rayclusters/{pending}")

    def thaw(self, strategy: Json | None) -> None:
        """Give the service the upgrade strategy of its manifest, where it has another."""
        found = self._cluster.find(self._path)
        if found is not None and found["spec"].get("upgradeStrategy") != strategy:
            self._cluster.patch(self._path, {"spec": {"upgradeStrategy": strategy}})

    def settle(self, timeout_s: float, pods: Pods, clock: Clock) -> None:
        """Watch until the restored spec serves and nothing is left. Raises RolloutError at the deadline."""
        found = self._cluster.get(self._path)
        # What fails meanwhile belongs to the rollout that was given up; only the deadline ends the wait.
        goal = Goal(found["metadata"]["generation"], config_of(found), patient=True)
        observer = Observer(self._cluster, pods, self._name)
        align(self._cluster, found, self._say, shrink=True, seen=observer.snapshot())

        def observe() -> Snapshot:
            seen = observer.snapshot()
            if seen.service and seen.service.pending and seen.service.active:
                self._drop_needless()
            return seen

        watch(observe, goal, timeout_s=timeout_s, say=self._say, clock=clock)

    def _drop_needless(self) -> None:
        """Strike a pending cluster where the active one is already what is wanted."""
        found = self._cluster.get(self._path)
        active = self._cluster.find(f"{self._cluster.ray}/rayclusters/{_active(found)}")
        if active and same_cluster(active["spec"], found["spec"]["rayClusterConfig"]):
            strategy = found["spec"].get("upgradeStrategy")
            self.drop_pending()
            self.thaw(strategy)

    def _freeze(self) -> None:
        self._cluster.patch(self._path, {"spec": {"upgradeStrategy": {"type": "None"}}})


def _pending(service: Json) -> str:
    return str(((service.get("status") or {}).get("pendingServiceStatus") or {}).get("rayClusterName") or "")


def _active(service: Json) -> str:
    return str(((service.get("status") or {}).get("activeServiceStatus") or {}).get("rayClusterName") or "")


def unstick(cluster: Cluster, release: Release, say: Callable[[str], None]) -> None:
    """Free a release that a dead helm process left pending: Helm refuses every upgrade of such a one."""
    history = release.history()
    if not stuck(history):
        return
    good = last_deployed(history)
    say(f"revision {history[-1].number} is {history[-1].status}: a helm process died; clearing it away")
    if good is None:
        release.uninstall()
        return
    found = [o for o in release.manifest(good) if o.get("kind") == "RayService"]
    name = found[0]["metadata"]["name"] if found else release.name
    Restorer(cluster, release, name, say).go_back(good)
