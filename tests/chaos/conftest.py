"""One release for all faults: two replicas on two GPU nodes, and a head whose state is in Redis."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.machine import Machine
from tests.chaos.target import Target
from tests.e2e.site import ground

HERE = Path(__file__).parent
VALUES = (HERE.parent / "e2e" / "rollout_values.yaml", HERE / "values.yaml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The release, once both replicas run."""
    if not os.environ.get("KUBECONFIG") or not os.environ.get("REDIS"):
        raise pytest.UsageError("set KUBECONFIG, and REDIS to host:port of a Redis that pods reach")
    address = os.environ.get("INGRESS", "http://127.0.0.1")
    files = [argument for path in VALUES for argument in ("-f", str(path))]
    with ground(address) as site:
        site.install(*files, "--set", f"gcsFaultTolerance.redis.address={os.environ['REDIS']}")
        found = Target(site)
        found.wait_until_whole()
        yield found


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The processes and nodes of the test cluster; a test that needs them is skipped on another cluster."""
    state = Path(os.environ["KUBECONFIG"]).parent
    if not (state / "run").is_dir():
        pytest.skip(f"needs a cluster whose processes run on this machine; {state}/run has none")
    return Machine(state / "run")


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """Begin each test with both replicas."""
    if "target" in request.fixturenames:
        request.getfixturevalue("target").wait_until_whole()
