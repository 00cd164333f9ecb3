"""Every file in examples/values renders, and its objects match the schemas of their kinds."""

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

# Worker pods: minimum, initial, maximum.
COUNTS = {
    "air-gapped": {"gpu": (1, 1, 1)},
    "forty-b": {"a100x4": (2, 2, 2)},
    "gateway": {"gpu": (1, 1, 1)},
    "internvl2-8b": {"gpu": (3, 3, 3)},
    "internvl2-8b-vllm": {"gpu": (3, 3, 3)},
    "laptop": {"cpu": (1, 1, 1)},
    "one-gpu": {"gpu": (1, 1, 1)},
    "own-model": {"gpu": (1, 1, 1)},
    "router": {"gpu": (3, 3, 3)},
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
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415
    return ServeDeploySchema


def test_the_number_of_worker_pods(example: Path) -> None:
    """Each example has the number of worker pods that a count by hand gives."""
    groups = rendered(example).cluster["workerGroupSpecs"]
    counts = {g["groupName"]: (g["minReplicas"], g["replicas"], g["maxReplicas"]) for g in groups}
    assert counts == COUNTS[example.stem]


def test_the_serve_config_is_valid(example: Path, serve_schema: Any) -> None:
    """The Serve config of each example is valid by Serve's schema."""
    serve_schema.model_validate(rendered(example).serve)


def test_objects_match_the_kubernetes_schemas(example: Path) -> None:
    """Built-in objects and Ray's pod templates are valid by the schemas of Kubernetes."""
    objects = [o for o in rendered(example).objects if o["kind"] not in CUSTOM]
    for o in [*objects, *_pods(rendered(example))]:
        kubernetes_validate.validate(o, KUBERNETES, strict=True)


TRIALS = ("laptop", "one-gpu")


def test_examples_are_fit_for_production(example: Path) -> None:
    """Models are pinned to a commit, the head can restart, and shared claims name their StorageClass."""
    values = yaml.safe_load(example.read_text())
    for model in values["models"].values():
        if "/" in model.get("source", "embedded").strip("/") and not model["source"].startswith("/"):
            assert len(model["revision"]) == 40
    if example.stem not in TRIALS:
        assert "gcsFaultToleranceOptions" in rendered(example).cluster
    for claim in (o for o in rendered(example).objects if o["kind"] == "PersistentVolumeClaim"):
        assert claim["spec"]["storageClassName"]


def _pods(result: Rendered) -> list[Object]:
    groups = [result.cluster["headGroupSpec"], *result.cluster["workerGroupSpecs"]]
    return [{"apiVersion": "v1", "kind": "Pod", **group["template"]} for group in groups]


def test_every_pod_is_restricted(example: Path) -> None:
    """Every pod of every example meets the restricted profile, init containers included."""
    result = rendered(example)
    specs = [pod["spec"] for pod in _pods(result)]
    specs += [o["spec"] for o in result.objects if o["kind"] == "Pod"]
    specs += [o["spec"]["template"]["spec"] for o in result.objects if o["kind"] in ("Job", "Deployment")]
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
