"""Pods and nodes that go in an orderly way."""

import pytest

from tests.chaos.target import Target
from tests.e2e.commands import run

DRAIN_S = 180.0


def _delete_worker(target: Target, times: int) -> None:
    with target.under_load(f"worker pod deleted, times: {times}") as report:
        for _ in range(times):
            victim = target.worker()
            with report.doing():
                target.delete(victim)
            target.wait_until_whole()
            report.back()
    assert report.failed == []


def test_worker_pod_is_deleted(target: Target) -> None:
    """A worker pod that is deleted finishes its requests, streams included, and none fails."""
    _delete_worker(target, 1)


@pytest.mark.slow
def test_worker_pods_are_deleted_one_after_another(target: Target) -> None:
    """Five worker pods are deleted, each once the one before has been replaced, and no request fails."""
    _delete_worker(target, 5)


@pytest.mark.slow
def test_node_is_drained_and_comes_back(target: Target) -> None:
    """`kubectl drain` of a GPU node moves its replica away, `kubectl uncordon` brings it back; none fails."""
    node = min(str(pod["spec"]["nodeName"]) for pod in target.workers())
    with target.under_load("GPU node drained and back") as report:
        report.now()
        try:
            flags = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={DRAIN_S:.0f}s"]
            run("kubectl", "drain", node, *flags, seconds=DRAIN_S + 10)
            target.wait_until_whole()
            report.back()
            assert {pod["spec"]["nodeName"] for pod in target.workers()}.isdisjoint({node})
        finally:
            run("kubectl", "uncordon", node)
        with report.doing():
            target.delete(target.worker())
        target.wait_until_whole()
        report.back()
    assert report.failed == []
    assert node in {pod["spec"]["nodeName"] for pod in target.workers()}
