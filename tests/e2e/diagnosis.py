"""What a person would look at first when something in the cluster went wrong."""

import json
from typing import Any

from tests.e2e.commands import CommandError, run

LOG_LINES = 40
EVENTS = 40


def diagnosis(namespace: str) -> str:
    """Pods, RayService, the last events, and the last lines of each container that is not ready."""
    events = _kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp").splitlines()
    parts = [
        _kubectl("-n", namespace, "get", "pods,jobs,rayclusters", "-o", "wide"),
        _kubectl("-n", namespace, "get", "rayservices", "-o", "jsonpath={.items[*].status}"),
        "\n".join(events[-EVENTS:]),
    ]
    parts += [_log(namespace, pod, container) for pod, container in _guilty(namespace)]
    return "\n\n".join(parts)


def _guilty(namespace: str) -> list[tuple[str, str]]:
    try:
        found = run("kubectl", "-n", namespace, "get", "pods", "-o", "json")
    except CommandError:
        return []
    pods: list[dict[str, Any]] = json.loads(found)["items"]
    return [
        (pod["metadata"]["name"], container["name"])
        for pod in pods
        for kind in ("initContainerStatuses", "containerStatuses")
        for container in pod["status"].get(kind, [])
        if not container["ready"]
    ]


def _log(namespace: str, pod: str, container: str) -> str:
    text = _kubectl("-n", namespace, "logs", pod, "-c", container, f"--tail={LOG_LINES}")
    return f"-- log of {pod}, container {container}\n{text}"


def _kubectl(*arguments: str) -> str:
    try:
        return run("kubectl", *arguments, seconds=20)
    except CommandError as failure:
        return str(failure)
