"""Replicas and worker pods that follow the load."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.e2e.release import ROOT, Release
from tests.e2e.waiting import until

IMAGE = (ROOT / "examples" / "images" / "tall.jpg").read_bytes()
# More in flight than one replica wants, and few enough to leave the new pod a core to start on.
CLIENTS = 4
# A busy machine can fail a probe of a worker that has long been ready.
READY_SECONDS = 60.0
UP_SECONDS = 240.0
DOWN_SECONDS = 180.0


def test_a_worker_comes_with_the_load_and_goes_with_it(release: Release, client: httpx.Client) -> None:
    """Load brings a replica in a second GPU worker, its end takes both away, and no request fails."""
    until("one worker that is ready", lambda: _running(release), (1, 1).__eq__, seconds=READY_SECONDS)
    with _load(client) as statuses:
        until("a second worker with a replica", lambda: _running(release), (2, 2).__eq__, seconds=UP_SECONDS)
    assert set(statuses) == {200}
    until("one worker again", lambda: _running(release), (1, 1).__eq__, seconds=DOWN_SECONDS)
    assert len(release.workers("quiet")) == 1


def _running(release: Release) -> tuple[int, int]:
    """Ready workers of the pool, and how many of its pods there are."""
    pods = release.workers("busy")
    conditions = [each for pod in pods for each in pod["status"].get("conditions", [])]
    return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions), len(pods)


@contextmanager
def _load(client: httpx.Client) -> Iterator[list[int]]:
    """Requests in flight all the time; gives their statuses, complete at the end."""
    stop, statuses = threading.Event(), list[int]()

    def call() -> None:
        while not stop.is_set():
            statuses.append(client.post("/caption", files={"image": IMAGE}).status_code)

    with ThreadPoolExecutor(CLIENTS) as pool:
        calls = [pool.submit(call) for _ in range(CLIENTS)]
        try:
            yield statuses
        finally:
            stop.set()
    for done in calls:
        done.result()
