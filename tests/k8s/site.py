"""A release in memory: its cluster, its Helm revisions, and a KubeRay that reads every change at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from k8s.clients.helm import Release, Revision, Values
from k8s.clients.kubeconfig import Location
from k8s.clients.pods import Answer, Pods
from k8s.clients.process import Processes
from k8s.errors import LeaseLostError, UnreachableError
from k8s.planning.diff import merge_patch
from k8s.planning.effects import classify
from k8s.planning.proposal import Proposal
from k8s.rollout.history import History
from k8s.rollout.rollout import Result, Rollout, RolloutOptions
from k8s.rollout.smoke_test import EXPECTED
from k8s.rollout.watch import Observer
from tests.k8s.api_server import NAMESPACE, ApiServer, merged
from tests.k8s.objects import Json, service
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
        self.unanswered = 0  # calls of helm

    def apply(self, wanted: Json) -> int:
        """Store a revision as helm does, by what differs; KubeRay and Serve take it at once."""
        patch = merge_patch(self.revisions[-1]["spec"], wanted["spec"])
        live = merged(self.server.objects[SERVICE], {"spec": patch})
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

    def observer(self) -> Observer:
        return Observer(self.server.client(), self.pods(), "capstan")

    def pods(self) -> "FakePods":
        return FakePods(self)

    def rollout(self) -> Rollout:
        found = Rollout(
            self.server.client(), FakeRelease(self), self.lines.append, self.guard, self.time.clock()
        )
        found.pods = self.pods()
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
        if self.site.unanswered:
            self.site.unanswered -= 1
            raise UnreachableError("the API server does not answer")
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
