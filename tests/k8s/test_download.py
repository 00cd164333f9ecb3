"""Watching the Job that downloads the models."""

import pytest

from k8s.clients.pods import Pods
from k8s.planning.verdict import State
from k8s.resources.pod import Pod
from k8s.resources.snapshot import DownloadJob
from k8s.rollout.watch import Observer
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import Json, recorded
from tests.k8s.test_failures import unschedulable
from tests.k8s.world import World

REFUSED = "OpenGVLab/InternVL2-8B: the hub refused the token (401)"
JOB = "capstan-download-1a2b3c4d"


def job(name: str = JOB, *, failed: int = 0, created: str = "2026-11-21T09:16:51Z", **condition: str) -> Json:
    """A Job as the API returns it."""
    conditions = [{"type": "Failed", "status": "True", **condition}] if condition else []
    status = {"active": int(not condition), "failed": failed, "conditions": conditions}
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": {}, "status": status}


def pod(number: int = 1) -> Json:
    """A pod of the Job, running."""
    meta = {"name": f"{JOB}-{number}", "creationTimestamp": f"2026-11-21T09:17:0{number}Z"}
    return {"metadata": meta, "spec": {}, "status": {"phase": "Running"}}


def waiting(world: World, found: Json, log: str) -> World:
    """Let a worker wait for the Job, and Serve not answer yet."""
    world.applications = {"applications": {}}
    init = {"name": "wait-for-models", "ready": False, "restartCount": 0, "state": {"running": {}}}
    world.worker()["status"]["initContainerStatuses"] = [init]
    world.download = DownloadJob.from_api(found, (Pod.from_api(pod()),), log)
    return world


def test_progress_is_shown(world: World) -> None:
    """While workers wait for the download, the watch shows its last log line."""
    found = waiting(world, job(), "2026-11-21 09:18:00,123 INFO model 1 of 2: a/b").verdict()
    assert found.state is State.WAITING
    assert found.sentence.endswith("; downloading models: model 1 of 2: a/b")


def test_a_failed_attempt_is_shown(world: World) -> None:
    """The error of a failed attempt is shown while the Job still retries."""
    found = waiting(world, job(failed=2), f"2026-11-21 09:18:00,123 ERROR {REFUSED}").verdict()
    assert found.state is State.WAITING
    assert found.sentence.endswith(f"; the download of models failed 2 times: {REFUSED}")


def test_a_failed_job_fails_the_rollout(world: World) -> None:
    """A Job that gave up ends the rollout with its error and the pod whose log has the rest."""
    gave_up = job(failed=4, reason="BackoffLimitExceeded", message="Job has reached the backoff limit")
    found = waiting(world, gave_up, f"2026-11-21 09:18:00,123 ERROR {REFUSED}").verdict()
    assert found.state is State.FAILED
    assert found.failure is not None
    assert (found.failure.kind, found.failure.pod) == ("Download", f"{JOB}-1")
    assert found.sentence == (
        f"the download of models failed: {REFUSED} (Job {JOB}: Job has reached the backoff limit)"
    )


def test_a_failed_pod_is_an_attempt(world: World) -> None:
    """A pod of the Job that ended is no failure of the rollout while the Job may retry."""
    ended = pod()
    ended["status"]["phase"] = "Failed"
    world.download = DownloadJob.from_api(job(), (Pod.from_api(ended),), "")
    assert world.verdict().state is not State.FAILED


def test_an_old_failure_is_ignored(world: World) -> None:
    """A Job that failed once is no failure where no worker waits for it."""
    world.download = DownloadJob.from_api(job(failed=4, reason="DeadlineExceeded"), (), "")
    assert world.verdict().state is State.DONE


def test_a_job_without_a_node(world: World) -> None:
    """A pod of the Job that fits on no node fails the rollout like any other pod."""
    unschedulable(world)
    stuck = world.worker()
    world.pods.remove(stuck)
    world.pods.append(recorded("pods")[0])
    world.download = DownloadJob.from_api(job(), (Pod.from_api(stuck),), "")
    assert world.verdict().state is State.FAILED


@pytest.fixture
def server() -> ApiServer:
    """The recorded service with two Jobs, of which one is older."""
    found = ApiServer()
    jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    items = [job("capstan-download-old", created="2026-11-20T09:00:00Z"), job(), job("capstan-align")]
    found.objects[jobs] = {"items": items}
    found.objects[f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"] = {"items": []}
    found.objects[f"/api/v1/namespaces/{NAMESPACE}/pods"] = {"items": [pod(2), pod(1)]}
    found.objects[f"/api/v1/namespaces/{NAMESPACE}/events"] = {"items": []}
    found.objects[f"/api/v1/namespaces/{NAMESPACE}/pods/{JOB}-2/log"] = {"line": "from the newest pod"}
    found.put(f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayservices/capstan", recorded("service"))
    return found


def test_the_newest_job_is_observed(server: ApiServer) -> None:
    """A snapshot has the newest download Job of the release, with the log of its newest pod."""
    client = server.client()
    found = Observer(client, Pods(client), "capstan").snapshot().download
    assert found is not None
    assert found.name == JOB
    assert "from the newest pod" in found.log


def test_a_finished_job_is_not_observed(server: ApiServer) -> None:
    """A Job that succeeded is nothing to watch, and neither is one that this account may not see."""
    client, path = server.client(), f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    server.objects[path]["items"][1]["status"] = {"succeeded": 1}
    assert Observer(client, Pods(client), "capstan").snapshot().download is None
    del server.objects[path]
    assert Observer(client, Pods(client), "capstan").snapshot().download is None
