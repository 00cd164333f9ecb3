"""What KubeRay does with changes of the cluster's configuration."""

import copy
from typing import Any

import pytest

from k8s.planning.effects import classify, drift, same_cluster
from k8s.planning.plan import Effect
from tests.k8s.objects import Change, Json, at, service
from tests.k8s.test_effects import plan

POOL = "workerGroupSpecs.0"
POD = f"{POOL}.template.spec"
HEAD = "headGroupSpec.template.spec"
RESOURCES = f"{POD}.containers.0.resources"


@pytest.mark.parametrize(
    "change",
    [
        at(f"{POD}.containers.0.image", "localhost/capstan:v2"),
        at(f"{POD}.containers.0.env", [{"name": "A", "value": "1"}]),
        at(f"{POD}.containers.0.resources.limits.memory", "8Gi"),
        at(f"{POD}.nodeSelector.zone", "a"),
        at(f"{POD}.terminationGracePeriodSeconds", 90),
        at(f"{POOL}.rayStartParams.num-gpus", "2"),
        at(f"{POOL}.idleTimeoutSeconds", 30),
        at(f"{POOL}.groupName", "other"),
        at(f"{HEAD}.containers.0.image", "localhost/capstan:v2"),
        at("headGroupSpec.template.metadata.labels.a", "b"),
        at("rayVersion", "2.61.0"),
        at("enableInTreeAutoscaling", value=True),
        at("workerGroupSpecs", []),
    ],
)
def test_new_cluster(change: Change) -> None:
    """Every other change of the cluster's configuration starts a second cluster, for all models."""
    found = plan(change)
    assert found.effect is Effect.NEW_CLUSTER
    assert found.new_cluster
    assert found.models == {"shapes": Effect.NEW_CLUSTER}


@pytest.mark.parametrize(
    "change",
    [
        at(f"{RESOURCES}.limits", {"memory": "4096Mi", "nvidia.com/gpu": "1"}),
        at(f"{RESOURCES}.requests.cpu", 0.1),
        at(f"{RESOURCES}.requests.memory", "1048576Ki"),
    ],
)
def test_equal_quantities(change: Change) -> None:
    """Quantities that the API server stores alike are no change, however they are written."""
    found = plan(change)
    assert found.changes == ()
    wanted = service(change)["spec"]["rayClusterConfig"]
    assert same_cluster(service()["spec"]["rayClusterConfig"], wanted)


def test_only_unequal_quantities_are_shown() -> None:
    """A plan names the quantity that differs, and not the one that is merely written in another way."""
    change = at(f"{RESOURCES}.limits", {"memory": "8Gi", "nvidia.com/gpu": "1"})
    field = "pool gpu: template.spec.containers[0].resources.limits.memory"
    assert [(c.field, c.before, c.after) for c in plan(change).changes] == [(field, "4Gi", "8Gi")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (at(f"{POOL}.replicas", 3), "pool gpu: replicas"),
        (at(f"{POOL}.minReplicas", 0), "pool gpu: minReplicas"),
        (at(f"{POOL}.maxReplicas", 9), "pool gpu: maxReplicas"),
        (at(f"{POD}.tolerations", [{"operator": "Exists"}]), "pool gpu: template.spec.tolerations"),
        (at(f"{POD}.schedulingGates", [{"name": "x"}]), "pool gpu: template.spec.schedulingGates"),
        (at(f"{HEAD}.tolerations", [{"operator": "Exists"}]), "head.template.spec.tolerations"),
    ],
)
def test_ignored_by_kuberay(change: Change, field: str) -> None:
    """What KubeRay leaves out of its hash must be patched on the RayCluster that serves."""
    found = plan(change)
    assert [(c.field, c.effect) for c in found.changes] == [(field, Effect.CLUSTER_PATCH)]
    assert not found.new_cluster


def test_ignored_fields_come_with_a_new_cluster() -> None:
    """A new cluster is made from the whole spec, so nothing needs a patch then."""

    def both(found: Json) -> None:
        at(f"{POOL}.replicas", 5)(found)
        at("rayVersion", "2.61.0")(found)

    assert {c.effect for c in plan(both).changes} == {Effect.NEW_CLUSTER}


def test_autoscaler_owns_replicas() -> None:
    """Where Ray's autoscaler runs, the number of pods that it chose is no drift."""
    found = service(at("enableInTreeAutoscaling", value=True))
    cluster = {"spec": copy.deepcopy(found["spec"]["rayClusterConfig"])}
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 7
    cluster["spec"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["a"]}
    assert drift(found, cluster) == []


def test_drift_without_a_change() -> None:
    """A RayCluster that was left behind is found even where the release itself does not change."""
    cluster = {"spec": copy.deepcopy(service()["spec"]["rayClusterConfig"])}
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 7
    found = classify(service(), service(), cluster)
    assert [(c.field, c.before, c.effect) for c in found.changes] == [
        ("pool gpu: replicas", 7, Effect.CLUSTER_PATCH)
    ]


def test_pool_added_at_the_end() -> None:
    """KubeRay adds a pool to the running cluster if it comes after those there are."""

    def add(found: Json) -> None:
        groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        groups.append({**copy.deepcopy(groups[0]), "groupName": "zebra"})

    assert plan(add).effect is Effect.CLUSTER_UPDATE
    assert not plan(add).new_cluster


def test_pool_added_in_front() -> None:
    """A pool before those there are makes a new cluster, as KubeRay compares them by their order."""

    def add(found: Json) -> None:
        groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        groups.insert(0, {**copy.deepcopy(groups[0]), "groupName": "aardvark"})

    assert plan(add).effect is Effect.NEW_CLUSTER


def test_strategy_none_ignores() -> None:
    """With upgradeStrategy None, a change of the cluster waits until the RayCluster is deleted."""

    def change(found: Json) -> None:
        found["spec"]["upgradeStrategy"] = {"type": "None"}
        at("rayVersion", "2.61.0")(found)

    found = plan(change)
    assert not found.new_cluster
    assert Effect.IGNORED in {c.effect for c in found.changes}


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        (f"{POOL}.replicas", 9, True),
        (f"{POOL}.scaleStrategy", {"workersToDelete": ["x"]}, True),
        ("suspend", True, True),
        (f"{POD}.priorityClassName", "high", False),
    ],
)
def test_same_cluster(path: str, value: Any, same: bool) -> None:
    """Two configurations are the same cluster when they differ in nothing but what the hash leaves out."""
    left, right = service()["spec"]["rayClusterConfig"], service(at(path, value))["spec"]["rayClusterConfig"]
    assert same_cluster(left, right) is same


def test_strategy_none_still_adds_a_pool() -> None:
    """KubeRay adds a pool to the running cluster whatever the upgrade strategy is."""

    def add(found: Json) -> None:
        found["spec"]["upgradeStrategy"] = {"type": "None"}
        groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        groups.append({**copy.deepcopy(groups[0]), "groupName": "zebra"})

    assert Effect.CLUSTER_UPDATE in {c.effect for c in plan(add).changes}
