"""Every file of examples/values: rendered, and its objects checked against the schemas of their kinds."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import ROOT, Object, Rendered, render

EXAMPLES = sorted((ROOT / "examples" / "values").glob("*.yaml"))
KUBERNETES = "1.34"
CUSTOM = ("RayService", "HTTPRoute")

# Worker pods: fewest, at first, most.
COUNTS = {
    "air-gapped": {"gpu": (1, 1, 1)},
    "forty-b": {"a100x4": (2, 2, 2)},
    "gateway": {"gpu": (1, 1, 1)},
    "internvl2-8b": {"gpu": (3, 3, 3)},
    "laptop": {"cpu": (1, 1, 1)},
    "one-gpu": {"gpu": (1, 1, 1)},
    "scale-to-zero": {"gpu": (0, 0, 4)},
    "spot": {"spot": (0, 0, 6), "steady": (2, 2, 2)},
    "two-models": {"a100": (2, 2, 2), "t4": (2, 2, 2)},
}


@cache
def rendered(path: Path) -> Rendered:
    return render(yaml.safe_load(path.read_text()))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def serve_schema() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of its use of pydantic
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415
    return ServeDeploySchema


def test_worker_pods_are_as_many_as_the_models_need(example: Path) -> None:
    """Each example has the numbers of worker pods that follow from its models by hand."""
    groups = rendered(example).cluster["workerGroupSpecs"]
    counts = {g["groupName"]: (g["minReplicas"], g["replicas"], g["maxReplicas"]) for g in groups}
    assert counts == COUNTS[example.stem]


def test_serve_takes_the_config(example: Path, serve_schema: Any) -> None:
    """Serve's own schema accepts the Serve config of each example."""
    serve_schema.model_validate(rendered(example).serve)


def test_kubernetes_knows_every_field(example: Path) -> None:
    """Objects of built-in kinds, and Ray's pod templates, have no field that Kubernetes does not know."""
    objects = [o for o in rendered(example).objects if o["kind"] not in CUSTOM]
    for o in [*objects, *_pods(rendered(example))]:
        kubernetes_validate.validate(o, KUBERNETES, strict=True)


def _pods(result: Rendered) -> list[Object]:
    groups = [result.cluster["headGroupSpec"], *result.cluster["workerGroupSpecs"]]
    return [{"apiVersion": "v1", "kind": "Pod", **group["template"]} for group in groups]


def test_every_pod_is_restricted(example: Path) -> None:
    """No pod of an example, init containers included, asks for more than the restricted profile allows."""
    result = rendered(example)
    specs = [pod["spec"] for pod in _pods(result)]
    specs += [o["spec"] for o in result.objects if o["kind"] == "Pod"]
    specs += [o["spec"]["template"]["spec"] for o in result.objects if o["kind"] == "Job"]
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
