"""The verdict on a rollout, from recorded objects and small changes to them."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8s.errors import UnreachableError
from k8s.rollout.watch import Clock, WatchError, watch
from k8s.rules.goal import Goal
from k8s.rules.verdict import State, Verdict, judge
from k8s.state import serve
from k8s.state.objects import Event, Pod, Service
from k8s.state.serve import config_of, replicas_wanted, takes
from k8s.state.snapshot import Snapshot
from tests.rollout.objects import Json, recorded

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
        self.goal: dict[str, Any] = {}
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
            service=Service.from_api(self.service),
            pods=tuple(Pod.from_api(p) for p in self.pods),
            events=tuple(Event.from_api(e) for e in self.events),
            apps={CLUSTER: serve.apps(self.applications)},
            clusters=tuple(self.clusters),
            now=NOW,
        )

    def verdict(self) -> Verdict:
        goal = Goal(self.service["metadata"]["generation"], config_of(self.service), **self.goal)
        return judge(self.snapshot(), goal)


@pytest.fixture
def world() -> World:
    return World()


def test_done(world: World) -> None:
    """A rollout is done when every application runs as wanted and nothing is left over."""
    assert world.verdict().state is State.DONE


def generation(world: World) -> None:
    world.service["status"]["observedGeneration"] -= 1


def no_service_status(world: World) -> None:
    world.service["status"] = {"observedGeneration": world.service["metadata"]["generation"]}


def old_config(world: World) -> None:
    world.app["deployed_app_config"]["deployments"][0]["user_config"]["max_tokens"] = 7


def too_few(world: World) -> None:
    world.model["replicas"].pop()


def stopping(world: World) -> None:
    world.model["replicas"].append({"replica_id": "old", "state": "STOPPING"})


def wrong_target(world: World) -> None:
    world.model["target_num_replicas"] = 1
    world.model["replicas"].pop()


def deploying(world: World) -> None:
    world.app["status"] = "DEPLOYING"


def updating(world: World) -> None:
    world.model["status"] = "UPDATING"


def extra_app(world: World) -> None:
    world.applications["applications"]["old"] = {**copy.deepcopy(world.app), "name": "old"}


def silent(world: World) -> None:
    world.applications = {"applications": {}}


def not_ready(world: World) -> None:
    for condition in world.service["status"]["conditions"]:
        condition["status"] = "False"


def left_over(world: World) -> None:
    world.clusters.append("capstan-old42")


def not_begun(world: World) -> None:
    world.goal = {"new_cluster": True, "old_cluster": CLUSTER}


def pending(world: World) -> None:
    status = world.service["status"]
    status["pendingServiceStatus"] = {**status["activeServiceStatus"]}
    status["activeServiceStatus"] = {"rayClusterName": "capstan-old42"}


def too_many_pods(world: World) -> None:
    world.goal = {"pools": {"gpu": 1}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (generation, "KubeRay has not read generation"),
        (no_service_status, "KubeRay has made no cluster yet"),
        (old_config, "Serve on .* has not taken the new config yet"),
        (too_few, "shapes: 1 of 2 replicas run"),
        (stopping, "1 more are stopping"),
        (wrong_target, "Serve aims at 1 replicas, wanted are 2 to 2"),
        (deploying, "shapes is DEPLOYING"),
        (updating, "UPDATING"),
        (extra_app, "old: still served, though no longer wanted"),
        (silent, r"does not answer yet; \d of \d pods are ready"),
        (not_ready, "the RayService is not Ready"),
        (left_over, "capstan-old42: served its last requests, not deleted yet"),
        (not_begun, "KubeRay has not begun the new cluster yet"),
        (pending, "KubeRay has not moved the traffic yet"),
        (too_many_pods, "pool gpu has 2 of 1 worker pods"),
    ],
)
def test_waits(world: World, change: Any, sentence: str) -> None:
    """A rollout is not done, and says why, while any one of its conditions does not hold."""
    change(world)
    found = world.verdict()
    assert found.state is State.WAITING
    pytest.raises(AssertionError, match=sentence).matches(AssertionError(found.sentence))


def deploy_failed(world: World) -> None:
    world.model.update(
        status="DEPLOY_FAILED",
        message="It failed to start 3 times in a row. Error:\nservice.errors.StartupError: no such key",
    )


def import_failed(world: World) -> None:
    world.app.update(
        status="DEPLOY_FAILED", message="Deploying app 'shapes' failed:\nImportError: no module x"
    )


def starting_again(world: World) -> None:
    world.model.update(
        status="UPDATING",
        message="failed to start with exception. Retrying 4 more time(s). Error:\nValueError: bad one",
    )


def crash_loop(world: World) -> None:
    world.container().update(
        state={"waiting": {"reason": "CrashLoopBackOff"}},
        lastState={"terminated": {"exitCode": 1, "reason": "Error"}},
        restartCount=2,
    )


def image_pull(world: World) -> None:
    world.container().update(
        state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image: not found"}}
    )


def init_image_pull(world: World) -> None:
    world.worker()["status"]["initContainerStatuses"] = [
        {"name": "wait-gcs-ready", "image": "x", "ready": False, "restartCount": 0,
         "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    ]  # fmt: skip


def no_secret(world: World) -> None:
    world.container().update(
        state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}
    )


def out_of_memory(world: World) -> None:
    world.container().update(
        state={"waiting": {"reason": "CrashLoopBackOff"}},
        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        restartCount=1,
    )


def unschedulable(world: World) -> None:
    pod = world.worker()
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}
        ],
    }  # fmt: skip


def evicted(world: World) -> None:
    world.worker()["status"].update(phase="Failed", reason="Evicted", containerStatuses=[])


def quota(world: World) -> None:
    world.events.append(
        {
            "metadata": {"name": "e", "creationTimestamp": "2026-11-21T09:39:00Z"},
            "involvedObject": {"kind": "RayCluster", "name": CLUSTER},
            "type": "Warning",
            "reason": "FailedToCreateWorkerPod",
            "message": 'pods "x" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1',
        }
    )


FAILURES = [
    (deploy_failed, "DEPLOY_FAILED", "StartupError: no such key"),
    (import_failed, "DEPLOY_FAILED", "ImportError: no module x"),
    (starting_again, "STARTUP", "ValueError: bad one"),
    (crash_loop, "CrashLoopBackOff", r"exit code 1, restarts: 2"),
    (image_pull, "Image", "localhost/capstan:e2e cannot be pulled"),
    (init_image_pull, "Image", "cannot be pulled"),
    (no_secret, "CreateContainerConfigError", 'secret "hub" not found'),
    (out_of_memory, "OOMKilled", "raise the memory limit"),
    (unschedulable, "Unschedulable", "3 Insufficient nvidia.com/gpu"),
    (evicted, "Failed", "Evicted"),
    (quota, "Quota", "exceeded quota: team"),
]


@pytest.mark.parametrize(("change", "kind", "sentence"), FAILURES)
def test_fails(world: World, change: Any, kind: str, sentence: str) -> None:
    """What no waiting cures is told at once, in one sentence with its cause."""
    change(world)
    found = world.verdict()
    assert found.state is State.FAILED
    assert found.failure is not None
    assert found.failure.kind == kind
    pytest.raises(AssertionError, match=sentence).matches(AssertionError(found.sentence))


@pytest.mark.parametrize(("change", "kind", "sentence"), FAILURES)
def test_patience(world: World, change: Any, kind: str, sentence: str) -> None:
    """A rollback goes on waiting, whatever fails, until its deadline."""
    change(world)
    world.goal = {"patient": True}
    assert world.verdict().state is not State.FAILED


def young(world: World) -> None:
    unschedulable(world)
    world.worker()["metadata"]["creationTimestamp"] = "2026-11-21T09:39:50Z"


def scaled_up(world: World) -> None:
    unschedulable(world)
    name = world.worker()["metadata"]["name"]
    about = {"kind": "Pod", "name": name}
    world.events.append({"metadata": {"name": "e"}, "involvedObject": about, "reason": "TriggeredScaleUp"})


def first_crash(world: World) -> None:
    crash_loop(world)
    world.container()["restartCount"] = 1


def recovered(world: World) -> None:
    out_of_memory(world)
    world.worker()["status"]["containerStatuses"][0].update(ready=True, state={"running": {}})


def deleted(world: World) -> None:
    crash_loop(world)
    world.worker()["metadata"]["deletionTimestamp"] = "2026-11-21T09:39:50Z"


def stale_failure(world: World) -> None:
    old_config(world)
    deploy_failed(world)


def of_another_cluster(world: World) -> None:
    crash_loop(world)
    world.worker()["metadata"]["labels"]["ray.io/cluster"] = "capstan-old42"


def waiting_for_the_old_one(world: World) -> None:
    unschedulable(world)
    world.goal["room_since"] = NOW - timedelta(seconds=10)


@pytest.mark.parametrize(
    "change",
    [
        young,
        waiting_for_the_old_one,
        scaled_up,
        first_crash,
        recovered,
        deleted,
        stale_failure,
        of_another_cluster,
    ],
)
def test_no_false_alarm(world: World, change: Any) -> None:
    """What may yet come right, or is no part of this rollout, is no failure."""
    change(world)
    assert world.verdict().state is not State.FAILED


def test_deployed_again(world: World) -> None:
    """A config that Serve writes differently counts as taken once Serve has deployed it anew."""
    old_config(world)
    world.goal = {"deployed_before": {"shapes": world.app["last_deployed_time_s"] - 1}}
    assert world.verdict().state is State.DONE


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(seen: Iterator[Any], world: World, timeout_s: float = 60) -> tuple[list[str], Time]:
    lines: list[str] = []
    time = Time()

    def observe() -> Snapshot:
        found = next(seen)
        if isinstance(found, Exception):
            raise found
        return found

    goal = Goal(world.service["metadata"]["generation"], config_of(world.service))
    watch(observe, goal, timeout_s=timeout_s, say=lines.append, clock=time.clock())
    return lines, time


def endless(found: Snapshot) -> Iterator[Snapshot]:
    while True:
        yield found


def test_watch_survives_an_absent_api_server(world: World) -> None:
    """An API server that does not answer is asked again, and the rollout goes on."""
    away = [UnreachableError("the API server does not answer (timeout)")] * 10
    lines, time = run(iter([*away, world.snapshot()]), world)
    assert lines[0] == "the API server does not answer (timeout); trying again"
    assert len(lines) == 2
    assert time.now == 20


def test_watch_ends_at_its_deadline(world: World) -> None:
    """A watch ends at its deadline and says what it last saw."""
    updating(world)
    with pytest.raises(
        WatchError, match=r"not done within 60 s \(--timeout\); last seen: shapes: 2 of 2"
    ) as error:
        run(endless(world.snapshot()), world)
    assert error.value.failure is None


def test_watch_ends_at_a_failure(world: World) -> None:
    """A watch ends at once when the rollout fails, and names the guilty pod."""
    crash_loop(world)
    with pytest.raises(WatchError) as error:
        run(endless(world.snapshot()), world)
    assert error.value.failure is not None
    assert error.value.failure.pod == world.worker()["metadata"]["name"]


@pytest.mark.parametrize(
    ("deployed", "wanted", "same"),
    [
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": None}, True),
        ({"a": "x"}, {"a": {"b": 1}}, False),
    ],
)
def test_config_taken(deployed: Json, wanted: Json, same: bool) -> None:
    """Serve has a config when it has all that the config says, whatever it adds."""
    assert takes(deployed, wanted) is same


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({"num_replicas": 3}, (3, 3)),
        ({}, (1, 1)),
        ({"num_replicas": "auto"}, (1, 100)),
        ({"autoscaling_config": {"min_replicas": 0, "max_replicas": 4}}, (0, 4)),
    ],
)
def test_replicas_wanted(fields: Json, bounds: tuple[int, int]) -> None:
    """The replicas that a config wants are a number or bounds."""
    assert replicas_wanted({"deployments": [{"name": "Model", **fields}]}) == {"Model": bounds}
