"""Why a rollout will not end well: the first thing in a snapshot that no waiting cures, in one sentence."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from k8s.state.objects import Container, Event, Pod
from k8s.state.serve import App

# A scheduler may need a moment while other pods go; an image registry may stumble once.
SCHEDULING_GRACE_S = 20.0
STARTUP_FAILURES = 2
# A node under load may fail to start Ray once; the second crash is no accident.
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
# A cluster autoscaler says the first, Karpenter the second.
AUTOSCALER_EVENTS = ("TriggeredScaleUp", "Nominated")
QUOTA = re.compile(r"exceeded quota|forbidden|LimitRange|denied the request", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in one sentence, and whose log tells more."""

    kind: str
    sentence: str
    pod: str = ""
    container: str = ""
    application: str = ""


def of_apps(apps: Iterable[App], retries: dict[str, int]) -> Failure | None:
    """The failure that Serve reports. `retries`: how often it tries to start a replica, by application."""
    for app in apps:
        for deployment in app.deployments:
            said = _cause(deployment.message)
            if deployment.status == "DEPLOY_FAILED":
                return Failure(
                    "DEPLOY_FAILED",
                    f"{app.name}: replicas of the new version do not start: {said}",
                    application=app.name,
                )
            if startup_failures(deployment.message, retries.get(app.name, 3)) >= STARTUP_FAILURES:
                return Failure(
                    "STARTUP",
                    f"{app.name}: a replica failed to start again and again: {said}",
                    application=app.name,
                )
        if app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            said = _cause(app.message)
            return Failure(app.status, f"{app.name} is {app.status}: {said}", application=app.name)
    return None


def startup_failures(message: str, threshold: int) -> int:
    """How often a replica failed to start, from Serve's message; Serve gives up after `threshold`."""
    if found := IN_A_ROW.search(message):
        return int(found[1])
    if found := RETRYING.search(message):
        return max(threshold - int(found[1]), 1)
    return 0


def of_pods(
    pods: Iterable[Pod], events: Sequence[Event], now: datetime, room_since: datetime | None = None
) -> Failure | None:
    """The failure that the pods of the clusters in question show.

    `room_since`: when there was room for them at last, if they had to wait for it.
    """
    scaling_up = {e.name for e in events if e.reason in AUTOSCALER_EVENTS}
    for pod in pods:
        if pod.deleting:
            continue
        for container in pod.containers:
            # What a container that is ready now went through before is no matter of this rollout.
            if not container.ready and (failure := _of_container(pod, container)):
                return failure
        waited_s = age_s(pod.created, now)
        if room_since is not None:
            waited_s = min(waited_s, (now - room_since).total_seconds())
        if pod.unschedulable and pod.name not in scaling_up and waited_s >= SCHEDULING_GRACE_S:
            return Failure(
                "Unschedulable", f"pod {pod.name} fits on no node: {pod.unschedulable}", pod=pod.name
            )
        if pod.phase == "Failed":
            return Failure("Failed", f"pod {pod.name} ended: {pod.reason or 'no reason given'}", pod=pod.name)
    return None


def of_events(events: Iterable[Event], clusters: Iterable[str]) -> Failure | None:
    """The failure that events about the clusters' pods tell: a quota or a policy that lets no pod be made."""
    names = tuple(clusters)
    for event in events:
        about = event.kind == "RayCluster" and event.name in names
        if about and event.type == "Warning" and "Failed" in event.reason and QUOTA.search(event.message):
            kind = "Quota" if "quota" in event.message else "Forbidden"
            return Failure(kind, f"{event.name} may not create its pods: {_cause(event.message)}")
    return None


def age_s(stamp: str, now: datetime) -> float:
    """Seconds since a time stamp of the API."""
    if not stamp:
        return 0.0
    return (now - datetime.fromisoformat(stamp).astimezone(UTC)).total_seconds()


def _of_container(pod: Pod, container: Container) -> Failure | None:
    where = f"pod {pod.name}, container {container.name}"
    at = {"pod": pod.name, "container": container.name}
    if container.waiting in IMAGE_REASONS:
        return Failure(
            "Image",
            f"the image {container.image} cannot be pulled ({container.waiting}): "
            f"{_cause(container.message) or 'no reason given'}; check the tag and imagePullSecrets",
            **at,
        )
    if container.waiting in CONTAINER_REASONS:
        return Failure(container.waiting, f"{where} cannot be created: {_cause(container.message)}", **at)
    if container.ended == "OOMKilled":
        return Failure(
            "OOMKilled",
            f"{where} was killed for want of memory (restarts: {container.restarts}); "
            "raise the memory limit of its pool",
            **at,
        )
    if container.waiting == "CrashLoopBackOff" and container.restarts >= CRASHES:
        code = "unknown" if container.exit_code is None else container.exit_code
        return Failure(
            "CrashLoopBackOff",
            f"{where} crashes again and again (exit code {code}, restarts: {container.restarts})",
            **at,
        )
    return None


def _cause(message: str) -> str:
    """The line of a message that says most: the last of a traceback, cut to a sentence's length."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (errors[-1] if errors else lines[-1])[:400]
