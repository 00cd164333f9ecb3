"""Values that the chart's schema refuses."""

from typing import Any

import pytest

from tests.chart.rendering import RefusedError, render
from tests.chart.test_refusals import with_value

BY_SCHEMA: list[tuple[str, Any, str]] = [
    ("replicaCount", 2, "Additional property replicaCount is not allowed"),
    ("models.a.replica", 2, "models.a: Additional property replica is not allowed"),
    ("models.a.settings", {"max_tile": 6}, "models.a.settings: Additional property max_tile is not allowed"),
    ("models.a.settings", {"max_tiles": 0}, "models.a.settings.max_tiles"),
    ("models.a.settings", {"model": "x/y"}, "models.a.settings: Additional property model is not allowed"),
    ("models.a.settings", {"cache_bytes": "many"}, "models.a.settings.cache_bytes: Does not match pattern"),
    ("models.a.replicas", 0, "models.a.replicas: Must be greater than or equal to 1"),
    ("models.a.replicas", "two", "models.a.replicas: Invalid type"),
    ("models.a.gpusPerReplica", -1, "models.a.gpusPerReplica: Must be greater than or equal to 0"),
    ("models.a.source", "not a model", "models.a.source: Does not match pattern"),
    ("models.a.routePrefix", "caption", "models.a.routePrefix: Does not match pattern"),
    ("models.a.routePrefix", "/a/", "models.a.routePrefix: Does not match pattern"),
    ("models.a.autoscaling", {"minReplicas": 1}, "models.a.autoscaling: maxReplicas is required"),
    (
        "models.a.generation",
        {"temperature": 3},
        "models.a.generation.temperature: Must be less than or equal to 2",
    ),
    ("models.UPPER", {}, 'models: Property name of "UPPER" does not match'),
    ("nodePools.gpu.gpuResource", "gpu", "nodePools.gpu.gpuResource: Does not match pattern"),
    ("nodePools.gpu.gpusPerNode", 0.5, "nodePools.gpu.gpusPerNode: Invalid type"),
    ("image.pullPolicy", "Sometimes", "image.pullPolicy must be one of the following"),
    ("image.digest", "sha256:12", "image.digest: Does not match pattern"),
    ("auth.mode", "password", "auth.mode must be one of the following"),
    ("upgradeStrategy.type", "Recreate", "upgradeStrategy.type must be one of the following"),
    ("serve.drainSeconds", 0, "serve.drainSeconds: Must be greater than or equal to 5"),
    ("serveConfig", {"applications": []}, 'serveConfig: Property name of "applications" does not match'),
    (
        "podDisruptionBudget.maxUnavailable",
        0,
        "podDisruptionBudget.maxUnavailable: Must be greater than or equal to 1",
    ),
    ("ingress.tls", [], "ingress: Additional property tls is not allowed"),
]


@pytest.mark.parametrize(
    ("key", "value", "sentence"), BY_SCHEMA, ids=[f"{key}-{n}" for n, (key, *_) in enumerate(BY_SCHEMA)]
)
def test_values_out_of_bounds_are_refused(key: str, value: Any, sentence: str) -> None:
    """Unknown keys, wrong types and values out of bounds are refused by name."""
    with pytest.raises(RefusedError) as refused:
        render(with_value(key, value))
    assert sentence in str(refused.value)
