"""One cluster, one namespace and one release for all tests of this folder."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.commands import run
from tests.e2e.diagnosis import diagnosis
from tests.e2e.objects import Namespace
from tests.e2e.release import Release, installed

GATEWAY = "entrance"
KEY = "sk-" + secrets.token_hex(32)
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of this folder, and run those of the shared release first.

    Those of rollouts, which make releases of their own, need its GPUs, so its removal is tested before them.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """The place of a test in the run; a lower one runs earlier."""
    if "release" not in getattr(item, "fixturenames", []):
        return 2
    return 1 if item.path.name == "test_removal.py" else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add what the cluster looks like to the report of a failure."""
    report = yield
    if report.failed and "namespace" in getattr(item, "funcargs", {}):
        report.sections.append(("cluster", diagnosis(item.funcargs["namespace"].name)))  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def address() -> str:
    """Where the cluster's ingress answers."""
    return os.environ.get("INGRESS", "http://127.0.0.1")


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    """A new namespace that admits only pods of the restricted profile."""
    if not os.environ.get("KUBECONFIG"):
        raise pytest.UsageError(
            "KUBECONFIG is not set; docs/deploy.md says how to get a cluster for `make e2e`"
        )
    name = f"capstan-e2e-{secrets.token_hex(3)}"
    run("kubectl", "create", "namespace", name)
    try:
        run("kubectl", "label", "namespace", name, RESTRICTED)
        yield Namespace(name)
    finally:
        run("kubectl", "delete", "namespace", name, "--timeout=120s", seconds=150)


@pytest.fixture(scope="session")
def release(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart with tests/e2e/values.yaml, once both models run."""
    values = tmp_path_factory.mktemp("values") / "here.yaml"
    values.write_text(yaml.safe_dump(_of_this_run(namespace)))
    for body in (_gateway(), *keys()):
        namespace.create(body)
    with installed("capstan", namespace, str(Path(__file__).parent / "values.yaml"), str(values)) as release:
        release.wait_until_running("shapes", "other")
        yield release


def _of_this_run(namespace: Namespace) -> dict[str, Any]:
    """Values that depend on the cluster and on the namespace."""
    repository, tag = os.environ.get("IMAGE", "localhost/capstan"), os.environ.get("TAG", "e2e")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "ingress": {"hosts": [f"ingress.{namespace.name}.test"]},
        "apiKeys": {"existingSecret": "keys"},
        "test": {"apiKeySecret": "client"},
        "route": {"hostnames": [f"route.{namespace.name}.test"], "parentRefs": [{"name": GATEWAY}]},
    }


def keys() -> list[dict[str, Any]]:
    """The keys file, which holds a hash alone, and the key itself for `helm test`."""
    keys = {"keys": [{"name": "tests", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
    contents = {"keys": {"keys.yaml": yaml.safe_dump(keys)}, "client": {"key": KEY}}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}
        for name, content in contents.items()
    ]


def _gateway() -> dict[str, Any]:
    """A Gateway of the class that the cluster has; its port is one of that class's entry points."""
    port = int(os.environ.get("GATEWAY_PORT", "80"))
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY},
        "spec": {
            "gatewayClassName": os.environ.get("GATEWAY_CLASS", "traefik"),
            "listeners": [{"name": "http", "protocol": "HTTP", "port": port}],
        },
    }


@pytest.fixture(params=["ingress", "route"])
def entrance(request: pytest.FixtureRequest, address: str, release: Release) -> Iterator[httpx.Client]:
    """A client of the Ingress, and one of the HTTPRoute."""
    with client_of(address, f"{request.param}.{release.namespace.name}.test") as connected:
        yield connected


@pytest.fixture
def client(address: str, release: Release) -> Iterator[httpx.Client]:
    """A client of the Ingress."""
    with client_of(address, f"ingress.{release.namespace.name}.test") as connected:
        yield connected


def client_of(address: str, host: str) -> httpx.Client:
    """A client of the ingress that asks for this host, with a key."""
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=address, headers=headers, timeout=60)
