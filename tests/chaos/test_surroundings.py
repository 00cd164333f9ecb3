"""What the release depends on goes away for a while: Redis, DNS, the operator, the network of a node."""

import os
import time

import pytest

from tests.chaos.machine import Machine
from tests.chaos.target import Target

REDIS_S, DNS_S, OPERATOR_S, PARTITION_S = 60.0, 30.0, 300.0, 30.0
OPERATOR = os.environ.get("OPERATOR", "kuberay-operator")


def _without(target: Target, machine: Machine, what: str, process: str, seconds: float) -> None:
    replicas = target.replicas()
    with target.under_load(f"{what} away for {seconds:.0f} s") as report:
        with machine.without(process):
            report.now()
            time.sleep(seconds)
        target.wait_until_whole()
        report.back()
    assert report.failed == []
    assert target.replicas() == replicas


def test_redis_is_away(target: Target, machine: Machine) -> None:
    """Redis does not answer for a minute; no replica restarts, and no request fails."""
    _without(target, machine, "Redis", "redis", REDIS_S)


def test_dns_is_away(target: Target, machine: Machine) -> None:
    """The cluster's DNS does not answer for half a minute, and no request fails."""
    _without(target, machine, "DNS", "coredns", DNS_S)


@pytest.mark.slow
def test_operator_is_away(target: Target, machine: Machine) -> None:
    """The operator does not run for five minutes, and no request fails."""
    _without(target, machine, "operator", OPERATOR, OPERATOR_S)


@pytest.mark.slow
def test_node_is_partitioned(target: Target, machine: Machine) -> None:
    """A GPU node reaches no other for half a minute; only requests in flight on it fail."""
    node = min(str(pod["spec"]["nodeName"]) for pod in target.workers())
    with target.under_load(f"node partitioned for {PARTITION_S:.0f} s", afterwards_s=60.0) as report:
        with machine.partition(node):
            report.now()
            time.sleep(PARTITION_S)
        target.wait_until_whole()
        report.back()
    assert report.failed_later == []
