"""Returning to a former revision while a second cluster is pending."""

import copy

import pytest

from k8s.clients.helm import Release
from k8s.clients.kubeconfig import Location
from k8s.clients.pods import Pods
from k8s.clients.process import Processes
from k8s.rollout.rollback import Rollback
from k8s.rollout.teardown import Teardown
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import Json, at, service
from tests.k8s.world import CLUSTER, Time, World

RAY = f"/apis/ray.io/v1/namespaces/{NAMESPACE}"
SERVICE = f"{RAY}/rayservices/capstan"
PENDING = "capstan-new77"
STEPWISE = {
    "type": "NewClusterWithIncrementalUpgrade",
    "clusterUpgradeOptions": {"gatewayClassName": "traefik", "stepSizePercent": 20, "intervalSeconds": 5},
}
AT_ONCE = {"type": "NewCluster"}


class FakeRelease(Release):
    """A release whose revision 1 serves while revision 2, another image, is pending."""

    def __init__(self, strategy: Json) -> None:
        super().__init__(Processes(), Location(), NAMESPACE)
        self.strategy = strategy
        self.at_rollback: set[str] = set()
        self.server = ApiServer()
        self.first = self._revision(service())
        found = self._revision(service(at("rayVersion", "9.9.9")))
        found["status"]["observedGeneration"] = found["metadata"]["generation"]
        found["status"]["pendingServiceStatus"] = {"rayClusterName": PENDING}
        self.server.put(SERVICE, found)
        for name, spec in ((CLUSTER, self.first["spec"]), (PENDING, found["spec"])):
            ray_cluster = {"metadata": {"name": name}, "spec": spec["rayClusterConfig"]}
            self.server.put(f"{RAY}/rayclusters/{name}", ray_cluster)

    def _revision(self, found: Json) -> Json:
        found["spec"]["upgradeStrategy"] = self.strategy
        return found

    def manifest(self, _revision: int | None = None) -> list[Json]:
        return [self.first]

    def rollback(self, _revision: int) -> None:
        self.at_rollback = self.ray_clusters()
        live = copy.deepcopy(self.server.objects[SERVICE])
        live["spec"] = copy.deepcopy(self.first["spec"])
        self.server.put(SERVICE, live)

    def apply(self) -> Rollback:
        found = Rollback(self.server.client(), self, "capstan", lambda _line: None)
        found.apply(1)
        return found

    def ray_clusters(self) -> set[str]:
        return {p.rpartition("/")[2] for p in self.server.objects if "/rayclusters/" in p}

    def changes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.server.requests if method != "GET"]


class FakePods(Pods):
    """Pods whose dashboards answer with the recorded applications, which run."""

    def __init__(self, world: World, release: FakeRelease) -> None:
        super().__init__(release.server.client())
        self.world = world
        for pod in world.pods:
            release.server.put(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}", pod)

    def dashboard(self, *_arguments: object) -> Json | None:
        return self.world.applications


def test_kuberay_moves_the_traffic_back() -> None:
    """An incremental upgrade is undone by the restored spec alone: no freeze, and no cluster is deleted."""
    release = FakeRelease(STEPWISE)
    release.apply()
    assert release.changes() == []
    assert release.ray_clusters() == {PENDING, CLUSTER}
    assert release.server.objects[SERVICE]["spec"] == release.first["spec"]


def test_the_way_back_is_watched_to_its_end() -> None:
    """The watch ends once KubeRay has deleted the pending cluster, and deletes nothing itself."""
    release, time = FakeRelease(STEPWISE), Time()
    rollback, pods = release.apply(), FakePods(World(), release)

    def kuberay(_method: str, _path: str) -> None:
        live = release.server.objects[SERVICE]
        if time.now >= 60 and live["status"].pop("pendingServiceStatus", None):
            release.server.put(SERVICE, live)
            del release.server.objects[f"{RAY}/rayclusters/{PENDING}"]

    release.server.before = kuberay
    rollback.watch(600, pods, time.clock())
    assert 60 <= time.now < 70
    assert release.changes() == []
    assert release.ray_clusters() == {CLUSTER}


def test_a_cluster_that_gets_a_part_of_the_traffic_stays() -> None:
    """A third spec during an incremental upgrade leaves the pending cluster to KubeRay."""
    release = FakeRelease(STEPWISE)
    Teardown(release.server.client(), "capstan", lambda _line: None).drop_pending()
    assert release.ray_clusters() == {PENDING, CLUSTER}


@pytest.mark.parametrize("wanted", [AT_ONCE, STEPWISE], ids=["at once", "step by step"])
def test_a_cluster_without_traffic_is_deleted(wanted: Json) -> None:
    """A pending cluster that would take over at once is deleted before the spec returns."""
    release = FakeRelease(AT_ONCE)
    release.first["spec"]["upgradeStrategy"] = wanted
    release.apply()
    assert release.at_rollback == {CLUSTER}
    assert release.ray_clusters() == {CLUSTER}
    assert release.server.objects[SERVICE]["spec"] == release.first["spec"]


def test_one_request_freezes_and_restores_the_serve_config() -> None:
    """Before the pending cluster is deleted, one request freezes the service and restores its config."""
    release = FakeRelease(AT_ONCE)
    release.apply()
    assert release.changes()[:3] == [
        ("PATCH", SERVICE),
        ("PATCH", f"{SERVICE}/status"),
        ("DELETE", f"{RAY}/rayclusters/{PENDING}"),
    ]


def test_a_strategy_that_is_given_up_freezes_nothing() -> None:
    """A revision that also made the upgrade incremental is undone by the restored spec alone."""
    release = FakeRelease(STEPWISE)
    release.first["spec"]["upgradeStrategy"] = AT_ONCE
    release.apply()
    assert release.changes() == []
    assert release.server.objects[SERVICE]["spec"] == release.first["spec"]
