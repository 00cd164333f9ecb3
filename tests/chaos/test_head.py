"""The head pod goes; with the state of the GCS in Redis, the replicas go on."""

import time

from tests.chaos.target import Target
from tests.e2e.waiting import until

NEW_HEAD_S = 240.0
# Serve's controller has checked all that it knew of by then.
SETTLED_S = 75.0


def test_head_pod_is_deleted(target: Target) -> None:
    """A head pod that is deleted is replaced, no replica or proxy restarts, and no request fails."""
    head, replicas, proxies = target.head(), target.replicas(), target.proxies()
    workers = {pod["status"]["podIP"] for pod in target.workers()}
    with target.under_load("head pod deleted") as report:
        with report.doing():
            target.delete(head)
        until(
            "another head",
            target.heads,
            lambda found: found != [head] and len(found) == 1,
            seconds=NEW_HEAD_S,
        )
        until("Serve's account", target.replicas, replicas.__eq__, seconds=NEW_HEAD_S)
        report.back()
        time.sleep(SETTLED_S)
    assert report.failed == []
    assert target.replicas() == replicas
    assert {ip: target.proxies().get(ip) for ip in workers} == {ip: proxies[ip] for ip in workers}
