"""What makes a rollout fail, and what does not."""

from datetime import timedelta
from typing import Any

import pytest

from k8s.planning.verdict import State
from tests.k8s.test_verdict import old_config
from tests.k8s.world import CLUSTER, NOW, World


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
    """What waiting does not fix is reported at once, in one sentence with its cause."""
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
    world.target = {"ignore_failures": True}
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
    world.target["placeable_since"] = NOW - timedelta(seconds=10)


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


UNBOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
FULL = "pod didn't trigger scale-up: 1 max node group size reached"


def waited(world: World, seconds: float, **target: Any) -> None:
    """Leave a worker without a node for so long."""
    unschedulable(world)
    world.target = {"placeable_since": NOW - timedelta(seconds=seconds), **target}


def autoscaler_event(world: World, reason: str, last: str = "2026-11-21T09:39:30Z") -> None:
    about = {"kind": "Pod", "name": world.worker()["metadata"]["name"]}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": reason}
    world.events.append({**event, "message": FULL, "lastTimestamp": last})


@pytest.mark.parametrize(("seconds", "grace", "failed"), [(50, 60, False), (70, 60, True), (70, 300, False)])
def test_grace_without_a_node(world: World, seconds: float, grace: float, failed: bool) -> None:
    """A pod without a node is a failure only after the grace period, which is an option."""
    waited(world, seconds, scheduling_grace_s=grace)
    assert (world.verdict().state is State.FAILED) is failed


@pytest.mark.parametrize(("seconds", "failed"), [(100, False), (400, True)])
def test_grace_for_volumes(world: World, seconds: float, failed: bool) -> None:
    """A pod that waits for its volume gets longer, since volumes are provisioned late."""
    waited(world, seconds)
    world.worker()["status"]["conditions"][0]["message"] = UNBOUND
    assert (world.verdict().state is State.FAILED) is failed


def test_autoscaler_adds_no_node(world: World) -> None:
    """An autoscaler that refuses to add a node ends the wait early, and its reason is shown."""
    waited(world, 25)
    autoscaler_event(world, "NotTriggerScaleUp")
    found = world.verdict()
    assert found.state is State.FAILED
    assert "3 Insufficient nvidia.com/gpu" in found.sentence
    assert found.sentence.endswith(f"; the cluster autoscaler adds no node: {FULL}")


def test_last_word_of_the_autoscaler(world: World) -> None:
    """Of several events of the autoscaler the last one counts."""
    waited(world, 400)
    autoscaler_event(world, "NotTriggerScaleUp", "2026-11-21T09:38:00Z")
    autoscaler_event(world, "TriggeredScaleUp", "2026-11-21T09:39:00Z")
    assert world.verdict().state is not State.FAILED


def test_reason_is_watched(world: World) -> None:
    """While a pod waits for a node, the watch shows why, and that a node is on its way."""
    waited(world, 30)
    world.applications = {"applications": {}}
    name = world.worker()["metadata"]["name"]
    assert f"pod {name} has no node yet: 0/3 nodes are available" in world.verdict().sentence
    autoscaler_event(world, "TriggeredScaleUp")
    assert f"pod {name} waits for a new node" in world.verdict().sentence
