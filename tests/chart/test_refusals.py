"""Contradictory or invalid values are refused with a sentence that says what to change."""

from copy import deepcopy
from typing import Any

import pytest

from tests.chart.rendering import RefusedError, render

BASE: dict[str, Any] = {
    "models": {
        "a": {"nodePool": "gpu", "gpusPerReplica": 1, "replicas": 2},
        "b": {"nodePool": "cpu", "gpusPerReplica": 0},
    },
    "nodePools": {"gpu": {"gpusPerNode": 2}, "cpu": {"gpusPerNode": 0}},
}
# The dotted key, the wrong value, and a part of the expected sentence.
BY_TEMPLATE: list[tuple[str, Any, str]] = [
    (
        "nodePools.gpu.nodes",
        0,
        "(models.a: 2 replicas x 1 GPUs; a node has 2 GPUs and 8 CPUs), but nodePools.gpu.nodes is 0. Raise",
    ),
    (
        "nodePools.gpu.nodes",
        0,
        "nodePools.gpu.nodes is 0. Raise nodePools.gpu.nodes to 1, or lower models.a.replicas.",
    ),
    (
        "nodePools.gpu",
        {"gpusPerNode": 1, "maxNodes": 1},
        "need 2 nodes (models.a: 2 replicas x 1 GPUs; a node has 1 GPUs and 4 CPUs), but",
    ),
    (
        "models.a.nodePool",
        "",
        "models.a.nodePool is not set and nodePools has 2 pools. Set models.a.nodePool to one of: cpu, gpu.",
    ),
    (
        "models.a.nodePool",
        "tpu",
        '"tpu", which is not in nodePools (cpu, gpu). Add nodePools.tpu, or change models.a.nodePool',
    ),
    ("nodePools", {}, 'models.a.nodePool is "gpu", which is not in nodePools (none). Add nodePools.gpu'),
    (
        "models.b.routePrefix",
        "/a",
        'models.a and models.b both have the routePrefix "/a". Change models.b.routePrefix.',
    ),
    ("models.a.gpusPerReplica", 4, "models.a.gpusPerReplica is 4, but nodePools.gpu.gpusPerNode is 2"),
    ("models.b.gpusPerReplica", 0.5, "models.b.gpusPerReplica is 0.5, but nodePools.cpu.gpusPerNode is 0"),
    (
        "models.a.gpusPerReplica",
        1.5,
        "models.a.gpusPerReplica is 1.5; it must be a fraction below 1 or a whole number. Change models.a",
    ),
    (
        "models.a.autoscaling",
        {"maxReplicas": 3},
        "models.a has both replicas (2) and autoscaling (maxReplicas 3). Remove models.a.replicas or",
    ),
    (
        "models.b.autoscaling",
        {"minReplicas": 3, "maxReplicas": 2},
        "models.b.autoscaling.minReplicas is 3, but maxReplicas is 2. Lower models.b.autoscaling.minReplicas",
    ),
    (
        "models.b.autoscaling",
        {"maxReplicas": 2, "initialReplicas": 5},
        "models.b.autoscaling.initialReplicas is 5; it must be between minReplicas (1) and maxReplicas (2)",
    ),
    (
        "models.a.resources",
        {"cpu": 9},
        "models.a.resources.cpu is 9, but a worker pod of nodePools.gpu has 8 CPUs",
    ),
    (
        "models.a.resources",
        {"memory": "64Gi"},
        "models.a.resources.memory is 64Gi, but a worker pod of nodePools.gpu has 32.0Gi",
    ),
    (
        "models.a.settings",
        {"request_timeout": 400},
        "models.a.settings.request_timeout is 400 s, but serve.requestTimeoutSeconds is 310 s, and the proxy",
    ),
    (
        "models.a.adapter",
        {"revision": "v1"},
        'models.a.adapter.revision is "v1", but the source "" has no revisions. Remove models.a.adapter',
    ),
    (
        "models.a",
        {"adapter": {"source": "org/lora"}, "engine": {"kind": "command", "command": "x"}, "nodePool": "gpu"},
        'models.a.adapter.source is "org/lora", but models.a.engine.kind is command. Name the adapter in',
    ),
    ("models.a.revision", "v1", 'models.a.revision is "v1", but the source "embedded" has no revisions'),
    (
        "nodePools.gpu",
        {"gpusPerNode": 2, "nodes": 1, "maxNodes": 2},
        "nodePools.gpu has nodes (1) together with minNodes or maxNodes. Remove nodePools.gpu.nodes",
    ),
    (
        "nodePools.gpu",
        {"minNodes": 3, "maxNodes": 2},
        "nodePools.gpu.minNodes is 3, but nodePools.gpu.maxNodes is 2",
    ),
    (
        "nodePools.cpu.resources",
        {"limits": {"memory": "1Gi"}},
        "nodePools.cpu.resources has no cpu, but Ray must know how many CPUs a worker pod has",
    ),
    ("nodePools.cpu.resources", {"requests": {"cpu": 1}}, "nodePools.cpu.resources has no memory, but"),
    (
        "nodePools.gpu.resources",
        {"limits": {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": 2}},
        "nodePools.gpu.resources has nvidia.com/gpu, which the chart sets from gpusPerNode",
    ),
    (
        "nodePools.gpu",
        {"gpuResource": "nvidia.com/mig-3g.40gb", "gpusPerNode": 2},
        "nodePools.gpu.gpusPerNode is 2, but CUDA sees one MIG device in a pod",
    ),
    ("route", {"enabled": True}, "route.enabled is true, but route.parentRefs is empty. Set"),
    ("fullnameOverride", "a" * 48, "has 48 characters; KubeRay allows 47. Set fullnameOverride"),
    (
        "upgradeStrategy.type",
        "NewClusterWithIncrementalUpgrade",
        "is NewClusterWithIncrementalUpgrade, but upgradeStrategy.clusterUpgradeOptions is not set",
    ),
    (
        "upgradeStrategy",
        {
            "type": "NewClusterWithIncrementalUpgrade",
            "clusterUpgradeOptions": {
                "gatewayClassName": "traefik",
                "stepSizePercent": 10,
                "intervalSeconds": 5,
            },
        },
        "needs Ray's autoscaler, but the number of worker pods cannot change. Give a model autoscaling",
    ),
    (
        "modelCache.existingClaim",
        "models",
        'modelCache.existingClaim is "models", but modelCache.type is "emptyDir". Set modelCache.type',
    ),
    (
        "modelCache",
        {"type": "persistentVolumeClaim", "sizeLimit": "1Gi"},
        'modelCache.sizeLimit is "1Gi", but modelCache.type is "persistentVolumeClaim" and only',
    ),
    (
        "gcsFaultTolerance.backend",
        "redis",
        "gcsFaultTolerance.redis.address is empty. Set gcsFaultTolerance.redis.address",
    ),
    (
        "gcsFaultTolerance.redis.address",
        "redis:6379",
        'gcsFaultTolerance.redis.address is "redis:6379", but gcsFaultTolerance.backend is "none"',
    ),
]


def with_value(key: str, value: Any) -> dict[str, Any]:
    values = deepcopy(BASE)
    *above, last = key.split(".")
    inner = values
    for name in above:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return values


@pytest.mark.parametrize(
    ("key", "value", "sentence"), BY_TEMPLATE, ids=[f"{key}-{n}" for n, (key, *_) in enumerate(BY_TEMPLATE)]
)
def test_contradictory_values_are_refused(key: str, value: Any, sentence: str) -> None:
    """Contradictory values stop the render with a sentence that names both and the key to change."""
    with pytest.raises(RefusedError) as refused:
        render(with_value(key, value))
    assert sentence in str(refused.value)


def test_the_base_values_are_valid() -> None:
    """The values that the tests above break in one place are valid."""
    assert render(BASE).group("gpu")["replicas"] == 1


def test_a_release_name_that_starts_with_a_digit_is_refused() -> None:
    """A release name that is not a valid RayService name is refused with the key that overrides it."""
    with pytest.raises(RefusedError, match=r"must start with a letter .*Set fullnameOverride"):
        render(release="8b")


def test_models_that_share_a_pool_share_the_token() -> None:
    """Two models on one pool with different Secrets are refused, because a pod has one HF_TOKEN."""
    values = deepcopy(BASE)
    values["models"]["a"]["existingSecret"] = "one"
    values["models"]["b"] |= {"existingSecret": "other", "nodePool": "gpu"}
    del values["nodePools"]["cpu"]
    with pytest.raises(RefusedError, match=r"share nodePools\.gpu, but have different Secrets"):
        render(values)


def test_scaling_to_zero_needs_a_head_that_serves() -> None:
    """A model that scales to zero is refused if the head takes no requests."""
    values = with_value("models.b.autoscaling", {"minReplicas": 0, "maxReplicas": 2})
    with pytest.raises(RefusedError, match=r"minReplicas is 0, but head\.servesTraffic is false"):
        render(values | {"head": {"servesTraffic": False}})
