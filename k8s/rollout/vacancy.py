"""Room for a new cluster where the old one goes first (`--strategy replace`)."""

from collections.abc import Callable
from datetime import UTC, datetime

from k8s.doors.cluster import Cluster
from k8s.rollout.insist import insist
from k8s.rollout.watch import INTERVAL_S, Clock, WatchError
from k8s.state.objects import CLUSTER_LABEL


def vacate(
    cluster: Cluster, name: str, *, timeout_s: float, say: Callable[[str], None], clock: Clock
) -> datetime:
    """Delete a Ray cluster, wait until its last pod is gone, and say when that was.

    Pods that drain keep their GPUs, so its successor has no room before that. Raises RolloutError where pods
    are left after `timeout_s` seconds.
    """
    end = clock.monotonic() + timeout_s
    pods = f"{cluster.core}/pods"
    say(f"deleting {name} to make room (--strategy replace); nothing serves meanwhile")
    insist(lambda: cluster.delete(f"{cluster.ray}/rayclusters/{name}"), say, clock)
    while left := insist(lambda: cluster.items(pods, f"{CLUSTER_LABEL}={name}"), say, clock):
        if clock.monotonic() >= end:
            names = ", ".join(sorted(pod["metadata"]["name"] for pod in left))
            raise WatchError(f"pods of {name} are not gone within {timeout_s:g} s (--timeout): {names}", None)
        clock.sleep(INTERVAL_S)
    return datetime.now(UTC)
