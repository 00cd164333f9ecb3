"""How many worker pods replicas need."""

from typing import Any

import pytest

from tests.chart.rendering import render


def nodes(pool: dict[str, Any], **models: dict[str, Any]) -> tuple[int, int, int]:
    """The fewest, first and most worker pods of one pool that runs these models."""
    group = render({"nodePools": {"pool": pool}, "models": models}).group("pool")
    return group["minReplicas"], group["replicas"], group["maxReplicas"]


@pytest.mark.parametrize(
    ("gpus", "share", "replicas", "count"),
    [
        (1, 0.5, 4, 2),
        # Two replicas of 0.6 would fit by their sum, and share no GPU.
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
    """Replicas share nodes, and fractions share GPUs, no replica being split over two of either."""
    model = {"gpusPerReplica": share, "replicas": replicas, "resources": {"cpu": 0.1}}
    assert nodes({"gpusPerNode": gpus}, a=model) == (count, count, count)


def test_cpus_count_too() -> None:
    """Where the CPUs of a node run out before its GPUs, more nodes are needed."""
    assert nodes({"gpusPerNode": 4}, a={"replicas": 4, "resources": {"cpu": 8}}) == (2, 2, 2)


def test_memory_counts_too() -> None:
    """Where the memory of a node runs out before its GPUs, more nodes are needed."""
    assert nodes({"gpusPerNode": 4}, a={"replicas": 4, "resources": {"memory": "24Gi"}}) == (2, 2, 2)


def test_cpus_of_a_pod_are_whole_for_ray() -> None:
    """Half a CPU of a pod counts as one, as KubeRay tells Ray."""
    pool = {"gpusPerNode": 0, "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}
    assert nodes(pool, a={"gpusPerReplica": 0, "replicas": 4}) == (2, 2, 2)


def test_models_share_a_pool() -> None:
    """Replicas of several models fill each other's gaps: 4 + 2 + 2 GPUs are one node of eight."""
    assert nodes(
        {"gpusPerNode": 8},
        large={"gpusPerReplica": 4},
        middle={"gpusPerReplica": 2},
        small={"gpusPerReplica": 0.5, "replicas": 4},
    ) == (1, 1, 1)


def test_bounds_follow_autoscaling() -> None:
    """The fewest, first and most pods follow the fewest, first and most replicas."""
    scaling = {"minReplicas": 0, "initialReplicas": 2, "maxReplicas": 5}
    assert nodes({"gpusPerNode": 1}, a={"autoscaling": scaling}) == (0, 2, 5)


def test_bounds_of_a_pool_widen_them() -> None:
    """A pool may have spare nodes: its own bounds count where they are wider."""
    assert nodes({"gpusPerNode": 1, "minNodes": 3, "maxNodes": 6}, a={"replicas": 2}) == (3, 3, 6)


def test_a_fixed_pool_stays_fixed() -> None:
    """A pool with a number of nodes has that many, however many its models need at the moment."""
    assert nodes({"gpusPerNode": 1, "nodes": 4}, a={"autoscaling": {"maxReplicas": 3}}) == (4, 4, 4)


def test_the_autoscaler_runs_only_where_pods_may_change() -> None:
    """Two replicas that share one GPU scale without Ray's autoscaler, which would have nothing to do."""
    model = {"gpusPerReplica": 0.5, "autoscaling": {"maxReplicas": 2}}
    rendered = render({"models": {"a": model}, "nodePools": {"gpu": {}}})
    assert "enableInTreeAutoscaling" not in rendered.cluster
    assert rendered.head["automountServiceAccountToken"] is False


def test_a_share_of_a_gpu_is_a_share_of_its_memory() -> None:
    """A replica with half a GPU fills at most half of its memory."""
    rendered = render({"models": {"a": {"gpusPerReplica": 0.5, "replicas": 2}}, "nodePools": {"gpu": {}}})
    assert rendered.application("a")["args"]["memory_fraction"] == pytest.approx(0.45)
