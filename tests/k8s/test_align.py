"""Aligning the serving RayCluster with the RayService."""

import copy
from typing import Any

from k8s.rollout.align import cluster_patch, idle_pods
from tests.k8s.objects import Json, at, service
from tests.k8s.world import World

POOL = "workerGroupSpecs.0"


def cluster(**fields: Any) -> Json:
    """The recorded cluster's spec, with fields of its pool changed."""
    spec = copy.deepcopy(service()["spec"]["rayClusterConfig"])
    spec["workerGroupSpecs"][0].update(fields)
    return spec


def test_growing_pool_is_patched_first() -> None:
    """A pool that grows is patched before Serve needs the nodes, and names of deleted pods go."""
    has = cluster(replicas=1, minReplicas=1, maxReplicas=1, scaleStrategy={"workersToDelete": ["gone"]})
    found = cluster_patch(has, cluster(replicas=3, minReplicas=3, maxReplicas=3), shrink=False, idle={})
    assert found is not None
    group = found["workerGroupSpecs"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    assert "scaleStrategy" not in group


def test_shrinking_pool_waits() -> None:
    """A pool that shrinks is left alone until Serve has taken its replicas away."""
    has = cluster(replicas=3, minReplicas=3, maxReplicas=3)
    assert (
        cluster_patch(has, cluster(replicas=1, minReplicas=1, maxReplicas=1), shrink=False, idle={}) is None
    )


def test_shrinking_names_idle_pods() -> None:
    """A pool that shrinks names the pods without a replica, no more than must go."""
    has, wanted = cluster(replicas=3), cluster(replicas=1, minReplicas=1, maxReplicas=1)
    found = cluster_patch(has, wanted, shrink=True, idle={"gpu": ["a", "b", "c"]})
    assert found is not None
    assert found["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": ["a", "b"]}


def test_autoscaled_pool_keeps_its_number() -> None:
    """Where Ray's autoscaler runs, only the bounds are patched."""
    wanted = {**cluster(replicas=5, maxReplicas=9), "enableInTreeAutoscaling": True}
    found = cluster_patch(cluster(replicas=3, maxReplicas=3), wanted, shrink=True, idle={})
    assert found is not None
    assert found["workerGroupSpecs"][0]["replicas"] == 3
    assert found["workerGroupSpecs"][0]["maxReplicas"] == 9


def test_tolerations_are_patched() -> None:
    """Tolerations of pools and of the head are carried over."""
    wanted = service(at(f"{POOL}.template.spec.tolerations", [{"operator": "Exists"}]))
    at("headGroupSpec.template.spec.tolerations", [{"key": "a"}])(wanted)
    found = cluster_patch(cluster(), wanted["spec"]["rayClusterConfig"], shrink=False, idle={})
    assert found is not None
    assert found["workerGroupSpecs"][0]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert found["headGroupSpec"]["template"]["spec"]["tolerations"] == [{"key": "a"}]


def test_equal_clusters_need_no_patch() -> None:
    """A RayCluster that is equal is not patched."""
    assert cluster_patch(cluster(), cluster(), shrink=True, idle={"gpu": ["a"]}) is None


def test_idle_pods() -> None:
    """A worker is idle when no replica has its address."""
    world = World()
    world.worker()["status"]["podIP"] = "10.88.9.9"
    assert world.worker()["metadata"]["name"] in idle_pods(world.snapshot())["gpu"]
    assert idle_pods(None) == {}
