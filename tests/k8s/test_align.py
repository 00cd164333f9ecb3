"""Aligning the serving RayCluster with the RayService."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from k8s.clients.retry import Clock
from k8s.errors import RefusedError, RolloutError
from k8s.resources.snapshot import Snapshot
from k8s.rollout.align import align_release, cluster_patch, idle_pods
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import Json, at, serve, service
from tests.k8s.world import CLUSTER, Time, World

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


class Release:
    """A running release whose objects a test changes, with what `align_release` said and where it slept."""

    def __init__(self, replicas: int, wanted: int) -> None:
        self.server, self.world, self.time = ApiServer(), World(), Time()
        self.said: list[str] = []
        self.on_sleep: list[Callable[[], None]] = []
        at(f"{POOL}.replicas", wanted)(self.world.service)
        at(f"{POOL}.minReplicas", wanted)(self.world.service)
        at(f"{POOL}.maxReplicas", wanted)(self.world.service)
        self.path = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{CLUSTER}"
        counts = {"replicas": replicas, "minReplicas": replicas, "maxReplicas": replicas}
        self.server.put(self.path, {"metadata": {"name": CLUSTER}, "spec": cluster(**counts)})

    def serve(self, replicas: int) -> None:
        """Let Serve run this many replicas, on the first workers."""
        config = self.world.app["deployed_app_config"]["deployments"][0]
        serve(lambda found: found["applications"][0]["deployments"][0].update(num_replicas=replicas))(
            self.world.service
        )
        config["num_replicas"] = replicas
        model = self.world.model
        model["target_num_replicas"] = replicas
        workers = [p for p in self.world.pods if p["metadata"]["labels"]["ray.io/node-type"] == "worker"]
        model["replicas"] = [
            {**model["replicas"][0], "replica_id": str(n), "node_ip": pod["status"]["podIP"]}
            for n, pod in enumerate(workers[:replicas])
        ]

    def sleep(self, seconds: float) -> None:
        self.time.sleep(seconds)
        if self.on_sleep:
            self.on_sleep.pop(0)()

    def align(self) -> Json:
        """Align it; returns the pool of the RayCluster afterwards."""
        clock = Clock(lambda: self.time.now, self.sleep)
        align_release(self.server.client(), self, self.said.append, timeout_s=60, clock=clock)  # type: ignore[arg-type]
        return self.pool

    @property
    def pool(self) -> Json:
        found: Json = self.server.objects[self.path]["spec"]["workerGroupSpecs"][0]
        return found

    def service(self) -> Json:
        return self.world.service

    def snapshot(self) -> Snapshot:
        return self.world.snapshot()


def test_release_grows() -> None:
    """A pool that is to grow is patched at once, and its line says from what to what."""
    release = Release(replicas=1, wanted=2)
    assert release.align()["replicas"] == 2
    assert release.said[0] == "pool gpu: worker pods 1 -> 2"


def test_release_shrinks_by_an_idle_pod() -> None:
    """A pool shrinks once Serve runs what it is to run, by the pod without a replica."""
    release = Release(replicas=2, wanted=1)
    release.serve(2)
    busy, idle = (r["node_ip"] for r in release.world.model["replicas"])
    release.on_sleep.append(lambda: release.serve(1))
    serve(lambda found: found["applications"][0]["deployments"][0].update(num_replicas=1))(
        release.world.service
    )
    pool = release.align()
    names = {p["status"]["podIP"]: p["metadata"]["name"] for p in release.world.pods}
    assert pool["replicas"] == 1
    assert pool["scaleStrategy"]["workersToDelete"] == [names[idle]]
    assert names[busy] not in pool["scaleStrategy"]["workersToDelete"]
    assert release.time.now > 0


def test_release_keeps_pods_with_replicas() -> None:
    """A pool whose pods all hold replicas does not shrink, and the error says how many are free."""
    release = Release(replicas=2, wanted=1)
    release.serve(2)
    with pytest.raises(RolloutError, match="lose 1 of 2 worker pods, but only 0 hold no replica"):
        release.align()
    assert release.pool["replicas"] == 2


def test_aligned_release_is_left_alone() -> None:
    """Aligning twice changes nothing the second time."""
    release = Release(replicas=2, wanted=2)
    before = release.align()
    assert release.said == ["pool gpu: worker pods 2, as configured"]
    assert all(method != "PATCH" for method, _ in release.server.requests)
    assert release.pool == before


def test_new_cluster_needs_no_alignment() -> None:
    """A RayCluster that KubeRay replaces is left alone."""
    release = Release(replicas=1, wanted=2)
    at("rayVersion", "9.9.9")(release.world.service)
    assert release.align()["replicas"] == 1
    assert "KubeRay replaces RayCluster" in release.said[0]


def test_operator_that_is_away() -> None:
    """Without an operator that sees the change, aligning ends at its deadline and says so."""
    release = Release(replicas=1, wanted=2)
    release.world.service["metadata"]["generation"] += 1
    with pytest.raises(RolloutError, match="has not seen generation 6 of RayService capstan"):
        release.align()


def test_missing_service() -> None:
    """A RayService that does not exist is refused."""
    release = Release(replicas=1, wanted=1)
    release.service = lambda: None  # type: ignore[assignment,return-value,method-assign]
    with pytest.raises(RefusedError, match="the RayService does not exist"):
        release.align()
