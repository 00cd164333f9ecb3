"""The checks of `capstan doctor`."""

import re
from pathlib import Path

import pytest

from k8s.clients.helm import find_chart, minimum_kubernetes
from k8s.planning.chart_checks import (
    check_images,
    check_ingress,
    check_secrets,
    check_storage,
    required_secrets,
)
from k8s.planning.cluster_checks import (
    Level,
    check_crd,
    check_gpus,
    check_kubernetes,
    check_operator,
    check_quotas,
)
from tests.k8s.objects import Json, at, recorded, service


def named(name: str, **annotations: str) -> Json:
    return {"metadata": {"name": name, "annotations": annotations}}


DEFAULT = {"ingressclass.kubernetes.io/is-default-class": "true"}
INGRESS: Json = {"kind": "Ingress", "metadata": {"name": "x"}, "spec": {}}


@pytest.mark.parametrize(
    ("classes", "wanted", "level"),
    [
        ([named("traefik", **DEFAULT)], [INGRESS], Level.OK),
        ([named("traefik")], [INGRESS], Level.MISSING),
        ([], [INGRESS], Level.MISSING),
        ([], [], Level.OK),
        ([named("a")], [{**INGRESS, "spec": {"ingressClassName": "b"}}], Level.MISSING),
        ([named("b")], [{**INGRESS, "spec": {"ingressClassName": "b"}}], Level.OK),
    ],
)
def test_ingress(classes: list[Json], wanted: list[Json], level: Level) -> None:
    """An Ingress needs a class that exists, or a default one."""
    assert check_ingress(classes, wanted).level is level


def test_crd() -> None:
    """A definition that is missing or too old says how to install KubeRay."""
    assert check_crd("rayservices.ray.io", None).level is Level.MISSING
    assert "helm install" in check_crd("rayservices.ray.io", None).fix
    old = {"spec": {"versions": [{"name": "v1alpha1", "served": True}]}}
    assert check_crd("rayservices.ray.io", old).level is Level.MISSING
    new = {"spec": {"versions": [{"name": "v1", "served": True}]}}
    assert check_crd("rayservices.ray.io", new).level is Level.OK


def deployment(image: str, available: int = 1) -> Json:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    return {"metadata": {"namespace": "ray"}, "spec": spec, "status": {"availableReplicas": available}}


@pytest.mark.parametrize(
    ("image", "available", "level"),
    [
        ("quay.io/kuberay/operator:v1.7.0", 1, Level.OK),
        ("quay.io/kuberay/operator:v1.2.0", 1, Level.WARNING),
        ("quay.io/kuberay/operator:v1.7.0", 0, Level.MISSING),
        ("nginx:1", 1, Level.WARNING),
    ],
)
def test_operator(image: str, available: int, level: Level) -> None:
    """KubeRay's operator must run, and not be too old."""
    assert check_operator([deployment(image, available)], []).level is level


def test_operator_of_another_version() -> None:
    """An operator of another version than the RayCluster's is about to overwrite that RayCluster."""
    found = check_operator([deployment("quay.io/kuberay/operator:v1.8.0")], recorded("clusters"))
    assert found.level is Level.WARNING
    assert "overwrites RayCluster capstan-n4x89, which v1.7.0 made" in found.sentence
    for image in (
        "quay.io/kuberay/operator:v1.7.0",
        "kuberay/operator:nightly",
        "kuberay/operator@sha256:ab",
    ):
        assert check_operator([deployment(image)], recorded("clusters")).level is Level.OK


def test_gpus() -> None:
    """GPUs are counted, and a pod that no node could ever take is missing something."""
    assert {f.level for f in check_gpus(recorded("nodes"), [], service())} == {Level.OK}
    huge = service(at("workerGroupSpecs.0.template.spec.nodeSelector", {"zone": "moon"}))
    assert any(
        f.level is Level.MISSING and "no node accepts" in f.sentence
        for f in check_gpus(recorded("nodes"), [], huge)
    )


def test_quotas() -> None:
    """A quota that is used up is a warning."""
    full = {"metadata": {"name": "q"}, "status": {"hard": {"pods": "3"}, "used": {"pods": "3"}}}
    assert [f.level for f in check_quotas([full])] == [Level.WARNING]
    assert [f.level for f in check_quotas([])] == [Level.OK]


def test_secrets() -> None:
    """Secrets that pods name must be there, with their keys; values are never looked at."""
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]
    wanted = required_secrets(service(at("workerGroupSpecs.0.template.spec.containers.0.env", env)))
    assert wanted["hub"] == {"token"}
    assert [f.level for f in check_secrets({"hub": {"token"}}, lambda _: None)] == [Level.MISSING]
    assert [f.level for f in check_secrets({"hub": {"token"}}, lambda _: {"data": {}})] == [Level.MISSING]
    assert [f.level for f in check_secrets({"hub": {"token"}}, lambda _: {"data": {"token": "eA=="}})] == [
        Level.OK
    ]


def test_images() -> None:
    """An image that ran in the namespace is ok; one that did not is unknown."""
    assert check_images(service(), recorded("pods"))[0].level is Level.OK
    assert check_images(service(), [])[0].level is Level.UNKNOWN


def test_storage() -> None:
    """A volume needs a class that exists."""
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "cache"},
        "spec": {"storageClassName": "fast"},
    }
    assert check_storage([], [claim]).level is Level.MISSING
    assert check_storage([named("fast")], [claim]).level is Level.OK


@pytest.mark.parametrize(
    ("provisioner", "modes", "level"),
    [
        ("ebs.csi.aws.com", ["ReadWriteMany"], Level.MISSING),
        ("ebs.csi.aws.com", ["ReadWriteOnce"], Level.OK),
        ("efs.csi.aws.com", ["ReadWriteMany"], Level.OK),
    ],
)
def test_access_modes(provisioner: str, modes: list[str], level: Level) -> None:
    """A volume for many pods needs a class whose provisioner shares files rather than disks."""
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "cache"},
        "spec": {"accessModes": modes},
    }
    default = named("disks", **{"storageclass.kubernetes.io/is-default-class": "true"})
    assert check_storage([{**default, "provisioner": provisioner}], [claim]).level is level


@pytest.mark.parametrize(("mode", "level"), [("token", Level.MISSING), ("disabled", Level.WARNING)])
def test_tokens_need_a_recent_operator(mode: str, level: Level) -> None:
    """An operator before 1.6 is too old; it drops a token of the dashboard silently, which leaves it open."""
    wanted = service(at("authOptions", {"mode": mode}))
    found = check_operator([deployment("quay.io/kuberay/operator:v1.5.1")], [], wanted)
    assert found.level is level


@pytest.mark.parametrize(
    ("labels", "levels"),
    [
        ({"nvidia.com/cuda.driver-version.major": "570"}, {Level.OK, Level.WARNING}),
        ({"nvidia.com/cuda.driver.major": "570"}, {Level.OK, Level.WARNING}),
        ({"nvidia.com/cuda.driver-version.major": "580"}, {Level.OK}),
        ({}, {Level.OK}),
    ],
)
def test_gpu_driver(labels: dict[str, str], levels: set[Level]) -> None:
    """A GPU node whose driver is too old for CUDA 13 is named, where the node has its version."""
    nodes = recorded("nodes")
    for node in nodes:
        node["metadata"]["labels"].update(labels)
    found = check_gpus(nodes, [], {})
    assert {f.level for f in found} == levels
    if Level.WARNING in levels:
        assert "gpu-0, gpu-1: driver 570 is older than 580" in found[-1].sentence


def test_kubernetes_version() -> None:
    """A cluster that is older than the chart allows is a warning."""
    assert (
        check_kubernetes({"major": "1", "minor": "34+", "gitVersion": "v1.34.4"}, (1, 30)).level is Level.OK
    )
    old = check_kubernetes({"major": "1", "minor": "29", "gitVersion": "v1.29.0"}, (1, 30))
    assert (old.level, old.sentence) == (Level.WARNING, "Kubernetes v1.29.0 is older than 1.30")


def test_the_minimum_version_is_stated_once() -> None:
    """The chart's kubeVersion is the minimum that the doctor checks and that the documents state."""
    chart = find_chart(None)
    major, minor = minimum_kubernetes(chart)
    for page in (
        chart / "README.md",
        chart.parents[1] / "README.md",
        chart.parents[1] / "docs" / "deploy.md",
    ):
        for stated in re.findall(r"Kubernetes (\d+\.\d+) or (?:later|newer)", page.read_text()):
            assert stated == f"{major}.{minor}", page


def test_minimum_of_a_packed_chart(tmp_path: Path) -> None:
    """A packed chart is checked by helm alone."""
    assert minimum_kubernetes(tmp_path / "chart.tgz") == (0, 0)
