"""Deleting the pending cluster of a rollout that was given up."""

import pytest

from k8s.errors import RolloutError
from k8s.rollout.teardown import Teardown
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import recorded

RAY = f"/apis/ray.io/v1/namespaces/{NAMESPACE}"
ACTIVE, PENDING = "capstan-old42", "capstan-new77"


@pytest.fixture
def server() -> ApiServer:
    """The recorded service while its second cluster is pending."""
    found = ApiServer()
    service, ray_cluster = recorded("service"), recorded("clusters")[0]
    for side, name in (("activeServiceStatus", ACTIVE), ("pendingServiceStatus", PENDING)):
        service["status"][side] = {"rayClusterName": name}
        found.put(f"{RAY}/rayclusters/{name}", {**ray_cluster, "metadata": {"name": name}})
    found.put(path_of(service["metadata"]["name"]), service)
    return found


def path_of(name: str) -> str:
    return f"{RAY}/rayservices/{name}"


def name_of(server: ApiServer) -> str:
    return str(next(o for p, o in server.objects.items() if "/rayservices/" in p)["metadata"]["name"])


def drop(server: ApiServer) -> list[str]:
    """Drop the pending cluster, and return what was said."""
    lines: list[str] = []
    Teardown(server.client(), name_of(server), lines.append).drop_pending()
    return lines


def promote(server: ApiServer) -> None:
    """Let the pending cluster take over, as KubeRay does."""
    path = path_of(name_of(server))
    found = server.objects[path]
    found["status"].update(activeServiceStatus={"rayClusterName": PENDING})
    found["status"].pop("pendingServiceStatus", None)
    server.put(path, found)


def ray_clusters(server: ApiServer) -> list[str]:
    return sorted(p.rpartition("/")[2] for p in server.objects if "/rayclusters/" in p)


def test_the_pending_cluster_is_deleted(server: ApiServer) -> None:
    """The pending cluster leaves the status and is deleted; the one that serves stays."""
    drop(server)
    status = server.objects[path_of(name_of(server))]["status"]
    assert "pendingServiceStatus" not in status
    assert status["activeServiceStatus"] == {"rayClusterName": ACTIVE}
    assert ray_clusters(server) == [ACTIVE]


@pytest.mark.parametrize("moment", ["PATCH", "status", "DELETE"])
def test_a_promoted_cluster_is_kept(server: ApiServer, moment: str) -> None:
    """A cluster that takes over at any moment before the status changes is live, and is never deleted."""
    done: list[str] = []

    def before(method: str, path: str) -> None:
        status_patch = method == "PATCH" and path.endswith("/status")
        now = status_patch if moment == "status" else method == moment and not status_patch
        pending = "pendingServiceStatus" in server.objects[path_of(name_of(server))]["status"]
        if now and pending and not done:
            done.append(method)
            promote(server)

    server.before = before
    lines = drop(server)
    assert ray_clusters(server) == ([PENDING, ACTIVE] if done else [ACTIVE])
    assert bool(done) is any("took over" in line for line in lines)


def test_a_changed_cluster_is_read_again(server: ApiServer) -> None:
    """A deletion names the uid and the version that were checked, and is repeated after another write."""
    changes: list[str] = []

    def before(method: str, path: str) -> None:
        if method == "DELETE" and len(changes) < 2:
            changes.append(path)
            server.put(path, server.objects[path])

    server.before = before
    drop(server)
    assert len(changes) == 2
    assert ray_clusters(server) == [ACTIVE]


def test_a_cluster_that_always_changes(server: ApiServer) -> None:
    """A deletion that conflicts again and again ends with an error."""

    def before(method: str, path: str) -> None:
        if method == "DELETE":
            server.put(path, server.objects[path])

    server.before = before
    with pytest.raises(RolloutError, match=f"{PENDING} keeps changing"):
        drop(server)
