"""The lease that keeps two rollouts of a release apart."""

from collections.abc import Iterator

import pytest

from k8s.clients.retry import LIMIT_S, Retry
from k8s.errors import LeaseLostError, LockHeldError, UnreachableError
from k8s.rollout.lease import LEASE_S, RENEW_S, RolloutLease
from tests.k8s.api_server import NAMESPACE, ApiServer
from tests.k8s.objects import Json
from tests.k8s.world import Time

PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/capstan-x"
OTHER = "ann@host (process 7)"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def time() -> Time:
    return Time()


def lease(server: ApiServer, time: Time, holder: str = "me") -> RolloutLease:
    return RolloutLease(server.client(), "x", lambda _: None, clock=time.clock(), holder=holder)


def spec(server: ApiServer) -> Json:
    found: Json = server.objects[PATH]["spec"]
    return found


def take_over(server: ApiServer, holder: str = OTHER) -> None:
    """Write the Lease as another holder does; its old time shows that no other clock is trusted."""
    times = {"acquireTime": "2026-11-21T11:59:45Z", "renewTime": "2026-11-21T11:59:45Z"}
    found = {**times, "holderIdentity": holder, "leaseDurationSeconds": LEASE_S}
    server.put(PATH, {"metadata": {"name": "capstan-x"}, "spec": found})


def test_it_is_taken_and_released(server: ApiServer, time: Time) -> None:
    """A lease is taken at once where nothing holds it, and has no holder afterwards."""
    for _ in range(2):
        with lease(server, time):
            assert spec(server)["holderIdentity"] == "me"
        assert spec(server)["holderIdentity"] == ""
    assert time.now == 0


def test_a_live_holder_is_named(server: ApiServer, time: Time) -> None:
    """While the holder renews, however wrong its clock is, the lease is refused with its name."""
    take_over(server)
    reads: Iterator[int] = iter(range(100))

    def before(method: str, _path: str) -> None:
        if method == "GET" and next(reads) == 2:
            take_over(server)

    server.before = before
    with pytest.raises(
        LockHeldError, match=r"ann@host \(process 7\) holds the lease .* 2026-11-21T11:59:45Z"
    ):
        lease(server, time).__enter__()
    assert time.now < 2 * RENEW_S


def test_a_dead_holder_loses_it(server: ApiServer, time: Time) -> None:
    """A lease that this machine has not seen change for its whole duration is taken."""
    take_over(server)
    with lease(server, time):
        assert spec(server)["holderIdentity"] == "me"
    assert time.now >= LEASE_S


def test_the_second_of_two_takers_is_refused(server: ApiServer, time: Time) -> None:
    """Of two that take a free lease at once, the second is refused."""
    server.before = lambda method, _path: take_over(server) if method == "POST" else None
    with pytest.raises(LockHeldError, match="just taken"):
        lease(server, time).__enter__()
    assert spec(server)["holderIdentity"] == OTHER


def test_a_lost_lease_is_neither_renewed_nor_released(server: ApiServer, time: Time) -> None:
    """A holder that lost the lease leaves it to the new one, and may change nothing more."""
    with lease(server, time) as held:
        take_over(server)
        with pytest.raises(LeaseLostError, match="lost to ann@host"):
            held.renew()
        with pytest.raises(LeaseLostError):
            held.check()
    assert spec(server)["holderIdentity"] == OTHER


def test_a_renewal_without_an_answer(server: ApiServer, time: Time) -> None:
    """A renewal that was stored although its answer was lost is no loss of the lease."""
    with lease(server, time) as held:
        take_over(server, "me")
        held.renew()
        held.check()


def test_writes_stop_when_the_lease_ends(server: ApiServer, time: Time) -> None:
    """Without an API server the lease ends by its own clock; no write is tried after that."""
    assert LIMIT_S < LEASE_S
    with lease(server, time) as held:
        client = server.client().with_options(Retry(LIMIT_S, clock=time.clock()), held.check)
        server.away = True
        with pytest.raises(UnreachableError):
            client.patch("/api/v1/pods/a", {})
        time.now = LEASE_S
        server.requests.clear()
        with pytest.raises(UnreachableError):
            client.patch("/api/v1/pods/a", {})
        assert ("PATCH", "/api/v1/pods/a") not in server.requests
        server.away = False
        held.check()
