"""A cluster that tests change: recorded objects, and a clock."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from k8s.clients.retry import Clock
from k8s.planning.verdict import Target, Verdict, judge
from k8s.resources import serve
from k8s.resources.pod import Pod
from k8s.resources.rayservice import RayService, serve_applications
from k8s.resources.snapshot import DownloadJob, Event, Snapshot
from tests.k8s.objects import Json, recorded

NOW = datetime(2026, 11, 21, 9, 40, 0, tzinfo=UTC)

CLUSTER = recorded("clusters")[0]["metadata"]["name"]


class World:
    """What the cluster says: the recorded objects, scaled as wanted, until a test changes them."""

    def __init__(self) -> None:
        self.service: Json = recorded("service")
        self.service["status"]["observedGeneration"] = self.service["metadata"]["generation"]
        self.applications: Json = recorded("applications")
        self.pods: list[Json] = recorded("pods")
        self.events: list[Json] = []
        self.clusters = [CLUSTER]
        self.target: dict[str, Any] = {}
        self.download: DownloadJob | None = None
        app = self.applications["applications"]["shapes"]
        app["status"] = "RUNNING"
        model = self.model
        model.update(status="HEALTHY", message="")
        model["replicas"][1].update(state="RUNNING", node_ip="10.88.1.9")
        for pod in self.pods:
            self.make_ready(pod)

    @property
    def app(self) -> Json:
        found: Json = self.applications["applications"]["shapes"]
        return found

    @property
    def model(self) -> Json:
        found: Json = self.app["deployments"]["Model"]
        return found

    def worker(self) -> Json:
        return next(p for p in self.pods if p["metadata"]["labels"]["ray.io/node-type"] == "worker")

    def container(self) -> Json:
        found: Json = self.worker()["status"]["containerStatuses"][0]
        found["ready"] = False
        return found

    @staticmethod
    def make_ready(pod: Json) -> None:
        for condition in pod["status"]["conditions"]:
            if condition["type"] in ("Ready", "ContainersReady"):
                condition["status"] = "True"
        for container in pod["status"].get("containerStatuses") or []:
            container["ready"] = True

    def snapshot(self) -> Snapshot:
        return Snapshot(
            service=RayService.from_api(self.service),
            pods=tuple(Pod.from_api(p) for p in self.pods),
            events=tuple(Event.from_api(e) for e in self.events),
            apps={CLUSTER: serve.applications(self.applications)},
            ray_clusters=tuple(self.clusters),
            now=NOW,
            download=self.download,
        )

    def verdict(self) -> Verdict:
        target = Target(
            self.service["metadata"]["generation"], serve_applications(self.service), **self.target
        )
        return judge(self.snapshot(), target)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: Callable[[], object] = lambda: None

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()
