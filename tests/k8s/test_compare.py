"""`capstan deploy --compare`: the old and the new cluster caption the same images before the switch."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from k8s.clients.pods import Answer
from k8s.errors import RefusedError, RolledBackError, RolloutError, UsageError
from k8s.planning.comparison import Limits
from k8s.planning.verdict import HOLD
from k8s.resources.rayservice import active_cluster, serve_applications
from k8s.rollout.compare import find_images
from k8s.rollout.smoke_test import EXPECTED
from tests.k8s.api_server import NAMESPACE
from tests.k8s.objects import Json, app, at, service
from tests.k8s.site import RAY, SERVICE, FakePods, Site
from tests.k8s.world import CLUSTER

NEW = "capstan-new"


def new_cluster(found: Json) -> None:
    """A new image and a new argument, so that Helm replaces the Serve config as well."""
    at("headGroupSpec.template.spec.containers.0.image", "capstan:2")(found)
    app("args", {"model": "embedded", "gpus_per_replica": 1, "new": True})(found)


class Canary(Site):
    """A site whose KubeRay starts a second cluster, and switches once every application on it runs.

    It looks before each request, so it finds every state in which it could switch too early.
    """

    def __init__(self) -> None:
        super().__init__()
        self.captions = {CLUSTER: EXPECTED, NEW: EXPECTED}
        self.status = {CLUSTER: 200, NEW: 200}
        self.seconds = {CLUSTER: 1.0, NEW: 1.0}
        self.captioned: list[tuple[str, str]] = []
        self.on_apply = self.start_cluster
        self.server.before = lambda _method, _path: self.reconcile()
        self.starts_at = 0.0
        self.given_to_serving: list[Any] = []

    def start_cluster(self) -> None:
        """Create the pending cluster, as KubeRay does for a spec that serves nowhere."""
        live = self.server.objects[SERVICE]
        if live["spec"]["rayClusterConfig"] == service()["spec"]["rayClusterConfig"]:
            return
        live["status"]["pendingServiceStatus"] = {"rayClusterName": NEW}
        self.starts_at = self.time.now + 2.0
        found = {"metadata": {"name": NEW}, "spec": live["spec"]["rayClusterConfig"]}
        self.server.put(f"{RAY}/rayclusters/{NEW}", found)
        for pod in copy.deepcopy(self.world.pods):
            meta = pod["metadata"]
            meta.update(name=f"{NEW}-{meta['name']}", labels={**meta["labels"], "ray.io/cluster": NEW})
            self.server.put(f"/api/v1/namespaces/{NAMESPACE}/pods/{meta['name']}", pod)

    def reconcile(self) -> None:
        """Read the newest generation, and switch if nothing holds the switch."""
        live = self.server.objects[SERVICE]
        live["status"]["observedGeneration"] = live["metadata"]["generation"]
        if not live["status"].get("pendingServiceStatus") and self.active() == CLUSTER:
            self.given_to_serving.append(serve_applications(live)["shapes"]["args"])
        ready = self.time.now >= self.starts_at and HOLD not in serve_applications(live)
        if live["status"].get("pendingServiceStatus") and ready:
            live["status"]["activeServiceStatus"] = live["status"].pop("pendingServiceStatus")
            self.server.objects.pop(f"{RAY}/rayclusters/{CLUSTER}")

    def applications(self, head: str) -> Json:
        """Serve's status of the cluster of a head pod."""
        live, found = self.server.objects[SERVICE], copy.deepcopy(self.world.applications)
        if head.startswith(NEW):
            apps = serve_applications(live)
            found["applications"]["shapes"]["deployed_app_config"] = apps["shapes"]
            if HOLD in apps:
                found["applications"][HOLD] = {"name": HOLD, "status": "DEPLOYING"}
        return found

    def pods(self) -> "CanaryPods":
        return CanaryPods(self)

    def compare(self, directory: Path, change: Any = new_cluster, **limits: Any) -> Any:
        images = tuple(find_images(directory))
        return self.deploy(service(change), images=images, limits=Limits(**limits))

    def active(self) -> str:
        return active_cluster(self.server.objects[SERVICE])


class CanaryPods(FakePods):
    """The pods of both clusters."""

    site: Canary

    def dashboard(self, head: str, _token: str | None) -> Json | None:
        return self.site.applications(head)

    def request(self, pod: str, *_arguments: Any, **_options: Any) -> Answer:
        cluster = NEW if pod.startswith(NEW) else CLUSTER
        self.site.captioned.append((cluster, self.site.active()))
        self.site.time.now += self.site.seconds[cluster]
        caption = {"caption": self.site.captions[cluster]}
        return Answer(self.site.status[cluster], json.dumps(caption).encode())


@pytest.fixture
def canary() -> Canary:
    """A site with a second cluster."""
    return Canary()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A directory with three images, and a file that is none."""
    for name in ("a.png", "b.jpg", "c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"image")
    return tmp_path


def test_equal_captions(canary: Canary, images: Path) -> None:
    """Every image is captioned on both clusters before the switch, which equal captions release."""
    result = canary.compare(images)
    before_switch = [cluster for cluster, active in canary.captioned if active == CLUSTER]
    assert (before_switch.count(CLUSTER), before_switch.count(NEW)) == (4, 3)
    assert canary.active() == NEW
    assert HOLD not in serve_applications(canary.server.objects[SERVICE])
    assert [model.value() for model in result.comparison] == [
        {"model": "shapes", "images": 3, "changed": 0, "failed": 0, "oldSeconds": 1.0, "newSeconds": 1.0}
    ]


def test_changed_captions(canary: Canary, images: Path) -> None:
    """Too many changed captions are rolled back: the new cluster never served, and nothing of it is left."""
    canary.captions[NEW] = "a cat"
    with pytest.raises(RolledBackError, match=r"3 of 3 captions changed; the limit is 10 percent"):
        canary.compare(images)
    assert {active for _, active in canary.captioned} == {CLUSTER}
    assert f"{RAY}/rayclusters/{NEW}" not in canary.server.objects
    assert canary.server.objects[SERVICE]["spec"] == service()["spec"]
    assert canary.outcomes() == {2: "rolled back", 3: "serves"}


def test_changes_that_are_allowed(canary: Canary, images: Path) -> None:
    """Changed captions within the limit are reported, and the new cluster takes over."""
    canary.captions[NEW] = "a cat"
    canary.deploy(
        service(new_cluster),
        images=tuple(find_images(images)),
        limits=Limits(changed_percent=100),
        smoke_test=False,
    )
    assert canary.active() == NEW


def test_failed_captions(canary: Canary, images: Path) -> None:
    """A caption that fails only on the new cluster is over the default limit."""
    canary.status[NEW] = 500
    with pytest.raises(RolledBackError, match=r"3 of 3 captions failed; the limit is 0"):
        canary.compare(images)
    assert canary.active() == CLUSTER


def test_slow_captions(canary: Canary, images: Path) -> None:
    """A new cluster that takes twice as long is over the default limit."""
    canary.seconds[NEW] = 2.0
    with pytest.raises(RolledBackError, match=r"2\.00 times as long; the limit is 1\.5 \(--max-slowdown\)"):
        canary.compare(images)


def test_no_baseline(canary: Canary, images: Path) -> None:
    """A model that does not caption the first image on the old cluster is refused before any change."""
    canary.status[CLUSTER] = 401
    with pytest.raises(RefusedError, match=r"does not caption a\.png \(status 401\).* CAPSTAN_API_KEY"):
        canary.compare(images)
    assert len(canary.revisions) == 1


def test_no_new_cluster(canary: Canary, images: Path) -> None:
    """A change that starts no new cluster is refused, as there is nothing to compare."""
    with pytest.raises(RefusedError, match="this change starts no new cluster"):
        canary.compare(images, app("args", {"model": "embedded", "gpus_per_replica": 1, "new": True}))
    assert len(canary.revisions) == 1


def test_another_strategy(canary: Canary, images: Path) -> None:
    """An upgrade strategy that shifts traffic by itself is refused."""

    def change(found: Json) -> None:
        new_cluster(found)
        found["spec"]["upgradeStrategy"] = {"type": "NewClusterWithIncrementalUpgrade"}

    with pytest.raises(RefusedError, match="not NewClusterWithIncrementalUpgrade"):
        canary.compare(images, change)


def test_deadline(canary: Canary, images: Path) -> None:
    """A comparison that passes the deadline is rolled back, and says how far it came."""
    canary.seconds = {CLUSTER: 20.0, NEW: 20.0}
    with pytest.raises(RolledBackError, match=r"not done within 30 s \(--timeout\): 1 of 3 images"):
        canary.compare(images)


def test_images_of_a_directory(images: Path, tmp_path: Path) -> None:
    """The images of a directory are sorted by name, and a directory without one is refused."""
    assert [path.name for path in find_images(images)] == ["a.png", "b.jpg", "c.webp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no file there ends in \.jpg"):
        find_images(tmp_path / "empty")


def test_a_hold_that_was_left(canary: Canary, images: Path) -> None:
    """The hold of a helper that was killed is released by the next deploy."""
    canary.captions[NEW] = "a cat"
    with pytest.raises(RolloutError, match="--no-rollback"):
        canary.deploy(service(new_cluster), images=tuple(find_images(images)), rollback=False)
    assert HOLD in serve_applications(canary.server.objects[SERVICE])
    canary.captions[NEW] = EXPECTED
    canary.on_apply = lambda: None
    canary.deploy(service(new_cluster))
    assert canary.active() == NEW
    assert HOLD not in serve_applications(canary.server.objects[SERVICE])


def test_an_unfinished_rollout_is_replaced(canary: Canary, images: Path) -> None:
    """A deploy over a pending cluster deletes it, and its Serve config never reaches the one that serves."""
    canary.captions[NEW] = "a cat"
    with pytest.raises(RolloutError, match="--no-rollback"):
        canary.deploy(service(new_cluster), images=tuple(find_images(images)), rollback=False)
    canary.captions[NEW] = EXPECTED
    canary.given_to_serving.clear()

    def newer(found: Json) -> None:
        new_cluster(found)
        at("headGroupSpec.template.spec.containers.0.image", "capstan:3")(found)

    canary.deploy(service(newer))
    abandoned = serve_applications(service(new_cluster))["shapes"]["args"]
    assert canary.active() == NEW
    assert abandoned not in canary.given_to_serving
