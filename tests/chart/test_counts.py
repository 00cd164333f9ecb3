"""The number of worker pods that replicas need."""

from typing import Any

import pytest

from service.settings import Settings
from tests.chart.rendering import render


def nodes(pool: dict[str, Any], **models: dict[str, Any]) -> tuple[int, int, int]:
    """Return the minimum, initial and maximum number of worker pods of a pool with these models."""
    group = render({"nodePools": {"pool": pool}, "models": models}).group("pool")
    return group["minReplicas"], group["replicas"], group["maxReplicas"]


@pytest.mark.parametrize(
    ("gpus", "share", "replicas", "count"),
    [
        (1, 0.5, 4, 2),
        # Three replicas of 0.6 need less than two GPUs in total, but no two of them fit on one GPU.
        (2, 0.6, 3, 2),
        (8, 0.25, 32, 1),
        (8, 0.25, 33, 2),
        (1, 0.3, 3, 1),
        (1, 0.3, 4, 2),
        (8, 2, 5, 2),
        (8, 3, 3, 2),
    ],
)
def test_replicas_share_gpus_and_nodes(gpus: int, share: float, replicas: int, count: int) -> None:
    """Replicas share nodes and fractions share GPUs, but no replica is split between two of them."""
    model = {"gpusPerReplica": share, "replicas": replicas, "resources": {"cpu": 0.1}}
    assert nodes({"gpusPerNode": gpus}, a=model) == (count, count, count)


def test_cpus_limit_replicas_per_node() -> None:
    """More nodes are needed if the CPUs of a node run out before its GPUs."""
    assert nodes({"gpusPerNode": 4}, a={"replicas": 4, "resources": {"cpu": 8}}) == (2, 2, 2)


def test_memory_limits_replicas_per_node() -> None:
    """More nodes are needed if the memory of a node runs out before its GPUs."""
    assert nodes({"gpusPerNode": 4}, a={"replicas": 4, "resources": {"memory": "24Gi"}}) == (2, 2, 2)


def test_cpus_of_a_pod_are_rounded_up() -> None:
    """Half a CPU of a pod counts as a whole one, because KubeRay rounds up."""
    pool = {"gpusPerNode": 0, "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}
    assert nodes(pool, a={"gpusPerReplica": 0, "replicas": 4}) == (2, 2, 2)


def test_models_share_a_pool() -> None:
    """Replicas of several models share a node: 4 + 2 + 2 GPUs need one node with eight."""
    assert nodes(
        {"gpusPerNode": 8},
        large={"gpusPerReplica": 4},
        middle={"gpusPerReplica": 2},
        small={"gpusPerReplica": 0.5, "replicas": 4},
    ) == (1, 1, 1)


def test_bounds_follow_autoscaling() -> None:
    """The minimum, initial and maximum number of pods follow those of the replicas."""
    scaling = {"minReplicas": 0, "initialReplicas": 2, "maxReplicas": 5}
    assert nodes({"gpusPerNode": 1}, a={"autoscaling": scaling}) == (0, 2, 5)


def test_bounds_of_a_pool_add_spare_nodes() -> None:
    """The bounds of a pool may exceed what its models need."""
    assert nodes({"gpusPerNode": 1, "minNodes": 3, "maxNodes": 6}, a={"replicas": 2}) == (3, 3, 6)


def test_a_fixed_pool_stays_fixed() -> None:
    """A pool with `nodes` has exactly that many, even if its models need fewer at times."""
    assert nodes({"gpusPerNode": 1, "nodes": 4}, a={"autoscaling": {"maxReplicas": 3}}) == (4, 4, 4)


def test_the_autoscaler_runs_only_if_the_number_of_pods_can_change() -> None:
    """Two replicas that share one GPU scale without Ray's autoscaler."""
    model = {"gpusPerReplica": 0.5, "autoscaling": {"maxReplicas": 2}}
    rendered = render({"models": {"a": model}, "nodePools": {"gpu": {}}})
    assert "enableInTreeAutoscaling" not in rendered.cluster
    assert rendered.head["automountServiceAccountToken"] is False


def test_the_memory_of_a_shared_gpu_is_divided_once() -> None:
    """The chart leaves the memory fraction to the replica, which multiplies it by its share of the GPU."""
    rendered = render({"models": {"a": {"gpusPerReplica": 0.5, "replicas": 2}}, "nodePools": {"gpu": {}}})
    application = rendered.application("a")
    assert application["deployments"][0]["ray_actor_options"]["num_gpus"] == 0.5
    assert Settings(**application["args"]).for_resources(cpus=1, gpus=0.5).memory_fraction == 0.45
