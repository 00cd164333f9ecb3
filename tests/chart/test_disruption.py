"""What node drains, autoscalers and restarts may interrupt."""

from typing import Any

import pytest

from tests.chart.rendering import Object, Rendered, environment, render


def budgets(values: dict[str, Any]) -> dict[str, Object]:
    """Return the specs of the PodDisruptionBudgets by name."""
    objects = render(values).objects
    return {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "PodDisruptionBudget"}


def workers(pool: dict[str, Any], **model: Any) -> int | None:
    """Return the number of workers that a drain must leave of a pool with one model."""
    budget = budgets({"models": {"a": model}, "nodePools": {"gpu": pool}}).get("test-gpu")
    return budget["minAvailable"] if budget else None


def test_a_drain_evicts_one_worker_at_a_time() -> None:
    """A drain may evict one of five ready workers at a time, and any that is not ready."""
    values = {"models": {"a": {"replicas": 5}}, "nodePools": {"gpu": {}}}
    spec = budgets(values)["test-gpu"]
    assert spec["minAvailable"] == 4
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert spec["selector"]["matchLabels"]["ray.io/group"] == "gpu"
    assert budgets(values | {"podDisruptionBudget": {"maxUnavailable": 3}})["test-gpu"]["minAvailable"] == 2


def test_a_budget_counts_only_pods_that_can_become_ready() -> None:
    """Spare workers hold no replica and never become ready, so they do not count."""
    assert workers({"nodes": 6}, replicas=3) == 2
    assert workers({"minNodes": 5}, autoscaling={"minReplicas": 2, "maxReplicas": 4}) == 1
    assert workers({"nodes": 4, "gpusPerNode": 2}, replicas=4) == 1


@pytest.mark.parametrize(
    ("pool", "model"),
    [
        ({}, {"replicas": 1}),
        ({"nodes": 3}, {"replicas": 1}),
        ({}, {"autoscaling": {"minReplicas": 0, "maxReplicas": 4}}),
        ({"gpusPerNode": 4, "nodes": 2}, {"replicas": 4}),
    ],
    ids=["one worker", "spare workers", "scales to zero", "may share one worker"],
)
def test_no_budget_blocks_a_drain_forever(pool: dict[str, Any], model: dict[str, Any]) -> None:
    """If one worker may hold all replicas, its pool has no budget."""
    assert workers(pool, **model) is None


REDIS = {"backend": "redis", "redis": {"address": "redis:6379"}}


@pytest.mark.parametrize(
    ("values", "protected"),
    [
        ({}, True),
        ({"gcsFaultTolerance": REDIS}, False),
        ({"gcsFaultTolerance": REDIS, "podDisruptionBudget": {"head": True}}, True),
        ({"podDisruptionBudget": {"head": False}}, False),
    ],
    ids=["the cluster depends on it", "it can restart", "asked for", "turned off"],
)
def test_the_head_has_its_own_budget(values: dict[str, Any], *, protected: bool) -> None:
    """A drain leaves the head alone if losing it loses the cluster, or if the values say so."""
    budget = budgets(values).get("test-head")
    assert (budget is not None) is protected
    if budget:
        assert budget["minAvailable"] == 1
        assert budget["selector"]["matchLabels"]["ray.io/node-type"] == "head"


def test_autoscalers_do_not_move_the_head() -> None:
    """Karpenter and Cluster Autoscaler leave the head alone, unless its annotations say otherwise."""
    own = {"karpenter.sh/do-not-disrupt": "false", "team": "vision"}
    metadata = [
        render(values).cluster["headGroupSpec"]["template"]["metadata"]
        for values in ({}, {"head": {"podAnnotations": own}})
    ]
    assert metadata[0]["annotations"] == {
        "karpenter.sh/do-not-disrupt": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }
    assert metadata[1]["annotations"] == metadata[0]["annotations"] | own


def surge(pool: dict[str, Any], **model: Any) -> int | None:
    """Return the max_surge_percent of the only model."""
    result: Rendered = render({"models": {"a": model}, "nodePools": {"gpu": pool}})
    percent: int | None = result.deployment("a").get("max_surge_percent")
    return percent


@pytest.mark.parametrize(
    ("pool", "model", "percent"),
    [
        ({"nodes": 1}, {"replicas": 1}, None),
        ({"nodes": 2}, {"replicas": 1}, 100),
        ({"gpusPerNode": 2}, {"replicas": 1}, 100),
        ({"nodes": 5}, {"replicas": 4}, 25),
        ({"maxNodes": 6}, {"autoscaling": {"maxReplicas": 4}}, 50),
        ({"gpusPerNode": 0}, {"gpusPerReplica": 0, "resources": {"cpu": 1}}, None),
        ({"gpusPerNode": 0}, {"gpusPerReplica": 0, "resources": {"cpu": 1, "memory": "2Gi"}}, 100),
        ({"gpusPerNode": 0}, {"gpusPerReplica": 0, "resources": {"cpu": 1, "memory": "3Gi"}}, None),
    ],
)
def test_replacements_start_first_if_the_pool_has_capacity(
    pool: dict[str, Any], model: dict[str, Any], percent: int | None
) -> None:
    """A restart starts replacements before it stops replicas, but only as many as the pool can hold."""
    assert surge(pool, **model) == percent


def test_serve_config_overrides_the_surge() -> None:
    """A model's serveConfig may turn the surge off."""
    assert surge({"nodes": 2}, serveConfig={"deployment": {"max_surge_percent": 0}}) == 0


def test_ray_drains_as_long_as_serve() -> None:
    """On SIGTERM Ray drains its node for the drain time of the pod, which is shorter on spot nodes."""
    values = {
        "models": {"a": {"nodePool": "steady"}, "b": {"nodePool": "spot"}},
        "nodePools": {"steady": {}, "spot": {"spot": True}},
        "serve": {"drainSeconds": 120},
    }
    result = render(values)
    found = [
        environment(spec["containers"][0])["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
        for spec in (result.head, result.worker("steady"), result.worker("spot"))
    ]
    assert found == ["120", "120", "20"]


def test_the_order_of_pools_does_not_matter() -> None:
    """Worker groups are sorted by name, so writing the pools in another order starts no cluster."""
    models = {"a": {"nodePool": "x"}, "b": {"nodePool": "y"}, "c": {"nodePool": "z"}}
    clusters = [
        render({"models": models, "nodePools": {name: {} for name in order}}).cluster
        for order in ("xyz", "zyx")
    ]
    assert [g["groupName"] for g in clusters[0]["workerGroupSpecs"]] == ["x", "y", "z"]
    assert clusters[0] == clusters[1]
