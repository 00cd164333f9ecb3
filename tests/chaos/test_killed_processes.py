"""`kill -9` of what serves: what was in flight on it fails, nothing else, and it is back within 30 s."""

import pytest

from tests.chaos.target import Target

# Not in the fast half: how quickly a replica is back depends on what else the machine does.
pytestmark = pytest.mark.slow

BACK_S = 30.0
WHOLE_S = 120.0


def _address(target: Target, name: str) -> str:
    (pod,) = (pod for pod in target.workers() if pod["metadata"]["name"] == name)
    return str(pod["status"]["podIP"])


def test_replica_is_killed(target: Target) -> None:
    """A replica that is killed fails its own requests alone, and another replaces it within 30 s."""
    victim = target.worker()
    lost = target.replicas(on=_address(target, victim))
    with target.under_load("kill -9 of a replica") as report:
        with report.doing():
            target.kill(victim, "ray::[S]erveReplica")
        target.wait_until_replaced(lost, target.replicas, seconds=WHOLE_S)
        report.back()
    assert report.failed_later == []
    assert report.back_s[0] < BACK_S


def test_haproxy_is_killed(target: Target) -> None:
    """An HAProxy that is killed fails the requests that it carries alone, and is back within 30 s."""
    victim = target.worker()
    lost = target.proxies()[_address(target, victim)]
    with target.under_load("kill -9 of HAProxy") as report:
        with report.doing():
            target.kill(victim, "^haproxy$", file="comm")
        target.wait_until_replaced({lost}, lambda: target.proxies().values(), seconds=WHOLE_S)
        report.back()
    assert report.failed_later == []
    assert report.back_s[0] < BACK_S


def test_raylet_is_killed(target: Target) -> None:
    """A raylet that is killed takes its container along: its requests fail, and the pod serves again."""
    victim = target.worker()
    lost = target.replicas(on=_address(target, victim))
    with target.under_load("kill -9 of a raylet") as report:
        with report.doing():
            target.kill(victim, "^raylet$", file="comm")
        target.wait_until_replaced(lost, target.replicas, seconds=WHOLE_S)
        report.back()
    assert report.failed_later == []
    assert report.back_s[0] < BACK_S
