"""Deleting RayClusters: a pending one that was given up, and the active one for `--strategy replace`.

While a cluster is pending, KubeRay 1.7 compares a new spec with the pending one alone
(`shouldPrepareNewCluster`). A spec that returns to what already serves would therefore start a third
cluster, which needs capacity and takes over from a healthy one. So the service is frozen (`upgradeStrategy`
None), the pending cluster is removed from the status and deleted, and the spec and the strategy return.

An incremental upgrade has its own way back (`reconcileRollbackState`): KubeRay moves the traffic to the
active cluster step by step, and then deletes the pending one. A freeze would promote the pending one instead.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.retry import INTERVAL_S, Clock
from k8s.errors import ClusterError, RolloutError
from k8s.resources.pod import CLUSTER_LABEL
from k8s.resources.rayservice import active_cluster, pending_cluster, upgrades_incrementally
from k8s.rollout.watch import WatchError

Json = dict[str, Any]

ATTEMPTS = 10
Say = Callable[[str], None]


class Teardown:
    """Deletes the clusters of one RayService."""

    def __init__(self, client: KubernetesClient, name: str, say: Say) -> None:
        self._client = client
        self._path = f"{client.ray}/rayservices/{name}"
        self._say = say

    def service(self) -> Json | None:
        """The RayService as the API returns it, or None."""
        return self._client.find(self._path)

    def drop_pending(self, *, serve_config: str | None = None) -> None:
        """Delete the pending cluster of a rollout that was given up, where another one serves.

        The service gets `serve_config`, if there is one, before its cluster is deleted. A cluster that takes
        over meanwhile is live and stays, and so does one that an incremental upgrade sends traffic to. The
        service stays frozen until `restore_strategy`. Raises RolloutError where the objects keep changing.
        """
        found = self.service()
        pending = pending_cluster(found)
        if not pending or not active_cluster(found) or upgrades_incrementally(found):
            return
        self._say(f"deleting {pending}, the cluster of a rollout that did not finish")
        self._freeze(serve_config)
        for _ in range(ATTEMPTS):
            try:
                self._drop(pending)
            except ClusterError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            else:
                return
        raise RolloutError(f"{pending} keeps changing, so it was not deleted; delete it with kubectl")

    def _drop(self, name: str) -> None:
        """Delete a RayCluster unless it serves. Raises ClusterError 409 if it or the service changed."""
        path = f"{self._client.ray}/rayclusters/{name}"
        ray_cluster = self._client.find(path)
        service = self.service()
        if active_cluster(service) == name:
            self._say(f"{name} took over meanwhile, so it stays")
            return
        if service is not None and pending_cluster(service) == name:
            # With the version either this or a promotion by KubeRay succeeds, never both.
            version = {"resourceVersion": service["metadata"]["resourceVersion"]}
            patch = {"metadata": version, "status": {"pendingServiceStatus": None}}
            self._client.patch(f"{self._path}/status", patch)
        if ray_cluster is not None:
            self._client.delete(path, expected=ray_cluster)

    def _freeze(self, serve_config: str | None) -> None:
        """Keep KubeRay from starting a new cluster, whatever the spec says."""
        spec: Json = {"upgradeStrategy": {"type": "None"}}
        if serve_config is not None:
            spec["serveConfigV2"] = serve_config
        self._client.patch(self._path, {"spec": spec})

    def restore_strategy(self, strategy: Json | None) -> None:
        """Set the upgrade strategy of the manifest where the service has another."""
        found = self.service()
        if found is not None and found["spec"].get("upgradeStrategy") != strategy:
            self._client.patch(self._path, {"spec": {"upgradeStrategy": strategy}})

    def delete_active(self, name: str, *, timeout_s: float, clock: Clock) -> datetime:
        """Delete the cluster that serves, wait until its last pod is gone, and return when that was.

        Terminating pods keep their GPUs, so the new cluster does not fit before that. Raises WatchError where
        pods are left after `timeout_s` seconds.
        """
        end = clock.monotonic() + timeout_s
        self._say(f"deleting {name} to free its nodes (--strategy replace); nothing serves meanwhile")
        self._client.delete(f"{self._client.ray}/rayclusters/{name}")
        while left := self._client.items(f"{self._client.core}/pods", f"{CLUSTER_LABEL}={name}"):
            if clock.monotonic() >= end:
                names = ", ".join(sorted(pod["metadata"]["name"] for pod in left))
                message = f"pods of {name} are not gone within {timeout_s:g} s (--timeout): {names}"
                raise WatchError(message, None)
            clock.sleep(INTERVAL_S)
        return datetime.now(UTC)
