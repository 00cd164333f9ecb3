"""Why a rollout fails: the first thing in a snapshot that waiting does not fix, in one sentence."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from k8s.resources.pod import Container, Pod
from k8s.resources.serve import ServeApplication, ServeDeployment
from k8s.resources.snapshot import CONTAINER, DownloadJob, Event, waits_for_download

# An autoscaler looks every 10 s and may wait for more pods before it acts.
SCHEDULING_GRACE_S = 60.0
# Volumes are provisioned once a pod needs them, which takes minutes on some clouds.
VOLUME_GRACE_S = 300.0
# A scheduler needs a moment while other pods terminate, even where no node will be added.
REFUSED_GRACE_S = 20.0
STARTUP_FAILURES = 2
# A node under load can fail to start Ray once; a second crash is not an accident.
CRASHES = 2

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
)
CONTAINER_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
RETRYING = re.compile(r"failed to start with exception\. Retrying (\d+) more time")
IN_A_ROW = re.compile(r"failed to start (\d+) times in a row")
# The first is the cluster autoscaler's, the second Karpenter's.
NODE_COMES = ("TriggeredScaleUp", "Nominated")
NO_NODE_COMES = "NotTriggerScaleUp"
VOLUME = re.compile(r"PersistentVolumeClaim|persistentvolumeclaim|persistent volumes? to bind|VolumeBinding")
QUOTA = re.compile(r"exceeded quota|forbidden|LimitRange|denied the request", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in one sentence, and where the log with the details is."""

    kind: str
    sentence: str
    pod: str = ""
    container: str = ""


def of_apps(apps: Iterable[ServeApplication], retries: dict[str, int]) -> Failure | None:
    """The failure that Serve reports. `retries`: how often it tries to start a replica, by application."""
    for app in apps:
        for deployment in app.deployments:
            if failure := _of_deployment(app.name, deployment, retries.get(app.name, 3)):
                return failure
        if app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            return Failure(app.status, f"{app.name} is {app.status}: {_cause(app.message)}")
    return None


def startup_failures(message: str, threshold: int) -> int:
    """How often a replica failed to start, by Serve's message; Serve gives up after `threshold`."""
    if found := IN_A_ROW.search(message):
        return int(found[1])
    if found := RETRYING.search(message):
        return max(threshold - int(found[1]), 1)
    return 0


def of_pods(
    pods: Iterable[Pod],
    events: Sequence[Event],
    now: datetime,
    placeable_since: datetime | None = None,
    grace_s: float = SCHEDULING_GRACE_S,
) -> Failure | None:
    """The failure that pods show.

    `placeable_since`: when the pods of the replaced cluster were gone, where these had to wait for that.
    `grace_s`: how long a pod may be without a node that fits.
    """
    for pod in pods:
        if pod.deleting:
            continue
        for container in pod.containers:
            # Earlier restarts of a container that is ready now do not concern this rollout.
            if not container.ready and (failure := _of_container(pod, container)):
                return failure
        waited_s = age_s(pod.created, now)
        if placeable_since is not None:
            waited_s = min(waited_s, (now - placeable_since).total_seconds())
        if pod.unschedulable and (failure := _of_scheduling(pod, events, waited_s, grace_s)):
            return failure
        if pod.phase == "Failed":
            return Failure("Failed", f"pod {pod.name} ended: {pod.reason or 'no reason given'}", pod=pod.name)
    return None


def of_download(job: DownloadJob | None, pods: Iterable[Pod]) -> Failure | None:
    """The failure of the Job that downloads models, where a worker waits for it."""
    if job is None or not job.gave_up or not any(map(waits_for_download, pods)):
        return None
    sentence = (
        f"the download of models failed: {job.log or 'nothing was logged'} (Job {job.name}: {job.gave_up})"
    )
    return Failure("Download", sentence, job.pods[-1].name if job.pods else "", CONTAINER)


def autoscaler_event(pod: Pod, events: Sequence[Event]) -> Event | None:
    """The last event in which an autoscaler says whether it adds a node for a pod; events oldest first."""
    found = [e for e in events if e.name == pod.name and e.reason in (*NODE_COMES, NO_NODE_COMES)]
    return found[-1] if found else None


def of_events(events: Iterable[Event], ray_clusters: Iterable[str]) -> Failure | None:
    """The failure in the events of the clusters: a quota or a policy that forbids their pods."""
    names = tuple(ray_clusters)
    for event in events:
        about = event.kind == "RayCluster" and event.name in names
        if about and event.type == "Warning" and "Failed" in event.reason and QUOTA.search(event.message):
            kind = "Quota" if "quota" in event.message else "Forbidden"
            return Failure(kind, f"{event.name} cannot create its pods: {_cause(event.message)}")
    return None


def age_s(stamp: str, now: datetime) -> float:
    """Seconds since a timestamp of the API."""
    if not stamp:
        return 0.0
    return (now - datetime.fromisoformat(stamp).astimezone(UTC)).total_seconds()


def _of_deployment(app: str, deployment: ServeDeployment, retries: int) -> Failure | None:
    cause = _cause(deployment.message)
    if deployment.status == "DEPLOY_FAILED":
        return Failure("DEPLOY_FAILED", f"{app}: replicas of the new version do not start: {cause}")
    if startup_failures(deployment.message, retries) >= STARTUP_FAILURES:
        return Failure("STARTUP", f"{app}: a replica keeps failing to start: {cause}")
    return None


def _of_scheduling(pod: Pod, events: Sequence[Event], waited_s: float, grace_s: float) -> Failure | None:
    event = autoscaler_event(pod, events)
    if event is not None and event.reason in NODE_COMES:
        return None
    sentence = f"pod {pod.name} fits on no node: {pod.unschedulable}"
    if VOLUME.search(pod.unschedulable):
        grace_s = max(grace_s, VOLUME_GRACE_S)
    elif event is not None:
        grace_s = min(grace_s, REFUSED_GRACE_S)
        sentence += f"; the cluster autoscaler adds no node: {event.message}"
    return Failure("Unschedulable", sentence, pod=pod.name) if waited_s >= grace_s else None


def _of_container(pod: Pod, container: Container) -> Failure | None:
    where = f"pod {pod.name}, container {container.name}"
    if container.waiting in IMAGE_REASONS:
        return Failure(
            "Image",
            f"the image {container.image} cannot be pulled ({container.waiting}): "
            f"{_cause(container.message) or 'no reason given'}; check the tag and imagePullSecrets",
            pod.name,
            container.name,
        )
    if container.waiting in CONTAINER_REASONS:
        return Failure(
            container.waiting,
            f"{where} cannot be created: {_cause(container.message)}",
            pod.name,
            container.name,
        )
    if container.ended == "OOMKilled":
        return Failure(
            "OOMKilled",
            f"{where} was OOM-killed (restarts: {container.restarts}); raise the memory limit of its pool",
            pod.name,
            container.name,
        )
    if container.waiting == "CrashLoopBackOff" and container.restarts >= CRASHES:
        code = "unknown" if container.exit_code is None else container.exit_code
        return Failure(
            "CrashLoopBackOff",
            f"{where} keeps crashing (exit code {code}, restarts: {container.restarts})",
            pod.name,
            container.name,
        )
    return None


def _cause(message: str) -> str:
    """The most telling line of a message, the last error of a traceback, cut to 400 characters."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (errors[-1] if errors else lines[-1])[:400]
