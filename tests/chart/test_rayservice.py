"""The rendered RayService."""

import warnings
from typing import Any

import pytest

from tests.chart.rendering import Rendered, environment, render

TWO = {
    "models": {
        "small": {
            "nodePool": "cpu",
            "gpusPerReplica": 0,
            "replicas": 2,
            "generation": {"maxTokens": 64, "temperature": 0},
            "env": {"OMP_NUM_THREADS": "1"},
        },
        "large": {
            "source": "OpenGVLab/InternVL2-8B",
            "revision": "main",
            "adapter": {"source": "our/lora", "revision": "v2"},
            "nodePool": "gpu",
            "autoscaling": {"minReplicas": 1, "maxReplicas": 4},
            "existingSecret": "hub",
            "settings": {"max_tiles": 6},
            "serveConfig": {"deployment": {"max_surge_percent": 0}},
        },
    },
    "nodePools": {"cpu": {"gpusPerNode": 0}, "gpu": {"gpusPerNode": 2, "gpuResource": "amd.com/gpu"}},
}


@pytest.fixture(scope="module")
def default() -> Rendered:
    return render()


@pytest.fixture(scope="module")
def two() -> Rendered:
    return render(TWO)


def test_default_serves_the_embedded_model_on_a_cpu(default: Rendered) -> None:
    """Without values one replica of the embedded model runs on one worker without GPUs."""
    options = default.deployment("embedded")["ray_actor_options"]
    assert options == {
        "num_cpus": 1,
        "num_gpus": 0,
        "memory": 2**30,
        "label_selector": {"capstan.pool": "cpu"},
    }
    assert default.group("cpu")["replicas"] == 1
    assert "nvidia.com/gpu" not in default.worker("cpu")["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("fixture", ["default", "two"])
def test_the_serve_config_is_valid(fixture: str, request: pytest.FixtureRequest) -> None:
    """The Serve config is valid by Serve's schema."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415
    ServeDeploySchema.model_validate(request.getfixturevalue(fixture).serve)


def test_each_model_is_an_application(two: Rendered) -> None:
    """Each model is its own application at its own path, pinned to its pool."""
    found = {
        a["name"]: (a["route_prefix"], a["deployments"][0]["ray_actor_options"]["label_selector"])
        for a in two.serve["applications"]
    }
    assert found == {
        "small": ("/small", {"capstan.pool": "cpu"}),
        "large": ("/large", {"capstan.pool": "gpu"}),
    }


def test_settings_are_arguments_and_defaults_are_user_config(two: Rendered) -> None:
    """Settings become arguments; generation defaults become user_config, zero included."""
    assert two.application("large")["args"] == {
        "model": "OpenGVLab/InternVL2-8B",
        "model_revision": "main",
        "adapter": "our/lora",
        "adapter_revision": "v2",
        "served_model_name": "large",
        "gpus_per_replica": 1,
        "max_tiles": 6,
    }
    assert two.deployment("small")["user_config"] == {"max_tokens": 64, "temperature": 0}


def test_worker_pods_are_counted(two: Rendered) -> None:
    """Up to four replicas with one GPU need up to two nodes with two GPUs, and at least one."""
    group = two.group("gpu")
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (1, 1, 2)
    assert two.cluster["enableInTreeAutoscaling"] is True


def test_ray_knows_the_gpus_of_any_vendor(two: Rendered) -> None:
    """Ray gets the number of GPUs as a parameter, because KubeRay only knows some vendors."""
    assert two.group("gpu")["rayStartParams"]["num-gpus"] == "2"
    assert two.worker("gpu")["containers"][0]["resources"]["limits"]["amd.com/gpu"] == 2
    taint = {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert taint in two.worker("gpu")["tolerations"]


def test_nodes_carry_the_label_of_their_pool(two: Rendered) -> None:
    """Ray nodes carry the label of their pool, whether or not the operator knows `labels`."""
    assert two.group("gpu")["labels"] == {"capstan.pool": "gpu"}
    container = two.worker("gpu")["containers"][0]
    assert environment(container)["RAY_OVERRIDE_LABELS"] == '{"capstan.pool":"gpu"}'


def test_the_hub_token_reaches_only_its_pool(two: Rendered) -> None:
    """Only the pods of the model's pool get the token from the Secret."""
    named = [e for e in two.worker("gpu")["containers"][0]["env"] if e["name"] == "HF_TOKEN"]
    assert named[0]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    assert all(e["name"] != "HF_TOKEN" for e in two.worker("cpu")["containers"][0]["env"])


def test_overrides_come_last(two: Rendered) -> None:
    """A model's serveConfig overrides the chart, with zero as well."""
    assert two.deployment("large")["max_surge_percent"] == 0


def test_the_dashboard_asks_for_a_token(default: Rendered) -> None:
    """Token authentication is on by default, and nothing exposes the dashboard."""
    assert default.cluster["authOptions"] == {"mode": "token"}
    assert "enableIngress" not in default.cluster["headGroupSpec"]


def test_pods_are_restricted(default: Rendered) -> None:
    """Every container has a read-only root file system, no capabilities and an unprivileged user."""
    for spec in (default.head, default.worker("cpu")):
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in {m["mountPath"] for m in container["volumeMounts"]}
        assert environment(container)["HOME"] == "/tmp"


def test_the_head_runs_no_replica(default: Rendered) -> None:
    """The head offers neither CPUs nor GPUs to Ray actors."""
    assert default.cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}


def test_pods_do_not_depend_on_the_chart_version(default: Rendered) -> None:
    """A new chart version alone does not change the pod templates, which would start a new cluster."""
    assert "helm.sh/chart" not in str(default.cluster)


def test_the_volume_at_tmp_can_be_in_memory_and_bounded() -> None:
    """`tmp` is an emptyDir of the node's disk unless the values say otherwise, in every Ray pod."""
    bounded = {"medium": "Memory", "sizeLimit": "1Gi"}
    for values, expected in (({}, {}), (bounded, bounded)):
        found = render({"tmp": values})
        volumes = [
            v for spec in (found.head, found.worker("cpu")) for v in spec["volumes"] if v["name"] == "tmp"
        ]
        assert [volume["emptyDir"] for volume in volumes] == [expected, expected]


def test_no_service_links(default: Rendered) -> None:
    """Pods get no variables of Services, which for a release called capstan look like settings."""
    assert [spec["enableServiceLinks"] for spec in (default.head, default.worker("cpu"))] == [False, False]


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({}, {"policy": {"utilization": 0.7}}),
        ({"targetUtilization": 0.5}, {"policy": {"utilization": 0.5}}),
        ({"targetOngoingRequests": 24}, {"target_ongoing_requests": 24}),
    ],
    ids=["work", "utilization", "requests"],
)
def test_replicas_follow_the_work_or_the_requests(scaling: dict[str, Any], expected: dict[str, Any]) -> None:
    """The work is what is scaled on, unless a target of concurrent requests is given."""
    models = {"a": {"autoscaling": {"maxReplicas": 2, **scaling}}}
    config = render({"models": models, "nodePools": {"gpu": {}}}).deployment("a")["autoscaling_config"]
    signal = {key: config[key] for key in ("policy", "target_ongoing_requests") if key in config}
    if "policy" in signal:
        assert signal["policy"]["policy_function"] == "service.autoscaling.policy:WorkPolicy"
        signal["policy"] = signal["policy"]["policy_kwargs"]
    assert signal == expected
