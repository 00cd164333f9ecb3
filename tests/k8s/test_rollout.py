"""A whole rollout against an API server in memory: apply, watch, verify, and finish or roll back."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8s.clients.helm import Release, Revision, Values
from k8s.clients.kubeconfig import Location
from k8s.clients.pods import Answer, Pods
from k8s.clients.process import Processes
from k8s.errors import LeaseLostError, RolledBackError, RolloutError
from k8s.planning.effects import classify
from k8s.planning.proposal import Proposal
from k8s.rollout.history import History
from k8s.rollout.rollout import Result, Rollout, RolloutOptions
from k8s.rollout.smoke_test import EXPECTED
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import Json, app, at, service
from tests.k8s.world import CLUSTER, Time, World

RAY = f"/apis/ray.io/v1/namespaces/{NAMESPACE}"
SERVICE = f"{RAY}/rayservices/capstan"


class Site:
    """A release, its cluster in memory, and a KubeRay that reads every change at once."""

    def __init__(self) -> None:
        self.world = World()
        self.server = ApiServer()
        self.caption = EXPECTED
        self.lines: list[str] = []
        self.revisions = [service()]
        self.server.put(SERVICE, self.world.service)
        before = {"metadata": {"name": CLUSTER}, "spec": service()["spec"]["rayClusterConfig"]}
        self.server.put(f"{RAY}/rayclusters/{CLUSTER}", before)
        for pod in self.world.pods:
            name = pod["metadata"]["name"]
            self.server.put(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}", pod)
        self.on_apply: Callable[[], None] = lambda: None
        self.time = Time()
        self.lost = False

    def apply(self, wanted: Json) -> int:
        """Store a revision as helm does; KubeRay and Serve take it at once."""
        live = copy.deepcopy(self.server.objects[SERVICE])
        live["spec"] = copy.deepcopy(wanted["spec"])
        live["metadata"]["generation"] += 1
        live["status"]["observedGeneration"] = live["metadata"]["generation"]
        self.server.put(SERVICE, live)
        self.world.app["last_deployed_time_s"] += 1
        self.revisions.append(wanted)
        self.on_apply()
        return len(self.revisions)

    def guard(self) -> None:
        if self.lost:
            raise LeaseLostError("lost")

    def rollout(self) -> Rollout:
        found = Rollout(
            self.server.client(), FakeRelease(self), self.lines.append, self.guard, self.time.clock()
        )
        found.pods = FakePods(self)
        return found

    def deploy(self, wanted: Json, **options: Any) -> Result:
        before, ray_cluster = (
            self.server.objects[SERVICE],
            self.server.objects[f"{RAY}/rayclusters/{CLUSTER}"],
        )
        plan = classify(before, wanted, ray_cluster)
        proposal = Proposal(plan, before, wanted, ray_cluster, (), None)
        FakeRelease.wanted = wanted
        return self.rollout().deploy(Path(), Values(), RolloutOptions(timeout_s=30, **options), proposal)

    def outcomes(self) -> dict[int, str]:
        entries = History(self.server.client(), "capstan").entries()
        return {number: entry.outcome for number, entry in sorted(entries.items())}


class FakeRelease(Release):
    """The Helm release of a site."""

    wanted: Json

    def __init__(self, site: Site) -> None:
        super().__init__(Processes(), Location(), NAMESPACE)
        self.site = site

    def upgrade(self, *_arguments: Any) -> int:
        return self.site.apply(self.wanted)

    def rollback(self, revision: int) -> None:
        self.site.apply(self.site.revisions[revision - 1])

    def history(self) -> list[Revision]:
        numbers = range(1, len(self.site.revisions) + 1)
        return [Revision(n, "superseded", "", "capstan-0.1.0", "") for n in numbers]

    def manifest(self, revision: int | None = None) -> list[Json]:
        return [self.site.revisions[(revision or len(self.site.revisions)) - 1]]


class FakePods(Pods):
    """The pods of a site."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.server.client())
        self.site = site

    def dashboard(self, *_arguments: Any) -> Json | None:
        return self.site.world.applications

    def request(self, *_arguments: Any, **_options: Any) -> Answer:
        return Answer(200, json.dumps({"caption": self.site.caption}).encode())


@pytest.fixture
def site() -> Site:
    return Site()


CHANGE = app("args", {"model": "embedded", "gpus_per_replica": 1, "new": True})


def test_success(site: Site) -> None:
    """A rollout that runs and passes the smoke test is recorded as serving."""
    result = site.deploy(service(CHANGE))
    assert (result.revision, result.changed) == (2, True)
    assert site.outcomes() == {2: "serves"}
    assert "shapes: the known image was captioned" in site.lines


def test_tolerations_are_carried_over(site: Site) -> None:
    """What KubeRay ignores is patched on the RayCluster that serves."""
    wanted = [{"operator": "Exists"}]
    site.deploy(service(at("workerGroupSpecs.0.template.spec.tolerations", wanted)))
    spec = site.server.objects[f"{RAY}/rayclusters/{CLUSTER}"]["spec"]
    assert spec["workerGroupSpecs"][0]["template"]["spec"]["tolerations"] == wanted


def test_failure_is_rolled_back(site: Site) -> None:
    """A failed smoke test returns to the revision before, and both are recorded."""

    def on_apply() -> None:
        site.caption = "a cat" if len(site.revisions) == 2 else EXPECTED

    site.on_apply = on_apply
    with pytest.raises(RolledBackError, match=r"did not answer .* rolled back: revision 1 serves"):
        site.deploy(service(CHANGE))
    assert site.outcomes() == {2: "rolled back", 3: "serves"}
    assert site.server.objects[SERVICE]["spec"] == service()["spec"]


def test_failure_without_rollback(site: Site) -> None:
    """With --no-rollback the failed revision stays."""
    site.caption = "a cat"
    with pytest.raises(RolloutError, match=r"nothing was rolled back \(--no-rollback\)"):
        site.deploy(service(CHANGE), rollback=False)
    assert site.outcomes() == {2: "failed"}


def test_nothing_to_do(site: Site) -> None:
    """An unchanged service is not applied."""
    result = site.deploy(service())
    assert (result.changed, result.sentence) == (False, "nothing to do: the release is up to date")
    assert len(site.revisions) == 1


def test_lost_lease_stops_the_rollout(site: Site) -> None:
    """A rollout that lost its lease changes nothing more, and rolls nothing back."""
    site.lost = True
    with pytest.raises(LeaseLostError):
        site.deploy(service(CHANGE))
    assert len(site.revisions) == 1
    assert site.outcomes() == {}
