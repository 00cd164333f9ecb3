"""What a node pool adds to its worker pods."""

from typing import Any

from tests.chart.rendering import Rendered, render


def pool(**values: Any) -> Rendered:
    """Render one model on a pool with these values."""
    return render({"models": {"a": {}}, "nodePools": {"gpu": values}, "podLabels": {"team": "vision"}})


def test_claims_replace_the_gpu_resource() -> None:
    """With dynamic resource allocation the container has the claims, and no extended resource."""
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    rendered = pool(resourceClaims=claims)
    spec = rendered.worker("gpu")
    assert spec["resourceClaims"] == claims
    assert spec["containers"][0]["resources"] == {
        "claims": [{"name": "gpu"}],
        "requests": {"cpu": 4, "memory": "16Gi"},
        "limits": {"memory": "16Gi"},
    }
    assert rendered.group("gpu")["rayStartParams"] == {"num-gpus": "1"}


def test_labels_of_a_pool() -> None:
    """Labels of a pool are on its pods, next to those of all pods, and override them."""
    labels = pool(podLabels={"team": "pool", "tier": "gpu"}).group("gpu")["template"]["metadata"]["labels"]
    assert (labels["team"], labels["tier"]) == ("pool", "gpu")
    assert (
        "tier"
        not in pool(podLabels={"tier": "gpu"}).cluster["headGroupSpec"]["template"]["metadata"]["labels"]
    )


def test_scheduler_sidecars_and_start_parameters() -> None:
    """A pool may have its own scheduler, containers after Ray's, and arguments of `ray start`."""
    rendered = pool(
        schedulerName="volcano",
        sidecars=[{"name": "logs", "image": "fluent-bit:4"}],
        rayStartParams={"object-store-memory": "2000000000"},
    )
    spec = rendered.worker("gpu")
    assert spec["schedulerName"] == "volcano"
    assert [container["name"] for container in spec["containers"]] == ["ray-worker", "logs"]
    assert rendered.group("gpu")["rayStartParams"] == {"num-gpus": "1", "object-store-memory": "2000000000"}


def test_mig_pools_tolerate_the_taint_of_gpu_nodes() -> None:
    """Nodes with MIG devices have the taint nvidia.com/gpu, so their pods tolerate it as well."""
    keys = [t["key"] for t in pool(gpuResource="nvidia.com/mig-3g.40gb").worker("gpu")["tolerations"]]
    assert keys == ["nvidia.com/mig-3g.40gb", "nvidia.com/gpu"]
    assert [t["key"] for t in pool().worker("gpu")["tolerations"]] == ["nvidia.com/gpu"]
