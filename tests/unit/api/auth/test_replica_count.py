"""How many replicas share a limit."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from service.api.auth.replica_count import EVERY_SECONDS, ReplicaCount


class Serve:
    """Stands in for the controller, and for the clock."""

    def __init__(self) -> None:
        self.now, self.running, self.asked = 0.0, 1, 0

    def ask(self) -> int:
        self.asked += 1
        if self.running < 0:
            raise TimeoutError
        return self.running


@pytest.fixture
def serve() -> Serve:
    return Serve()


@pytest.fixture
def replicas(serve: Serve) -> ReplicaCount:
    return ReplicaCount(serve.ask, clock=lambda: serve.now, background=lambda work: work())


def test_the_number_follows_serve(serve: Serve, replicas: ReplicaCount) -> None:
    """The number is asked for again after some seconds, and not before."""
    serve.running = 4
    assert replicas() == 4
    serve.running = 2
    assert replicas() == 4
    serve.now += EVERY_SECONDS
    assert replicas() == 2
    assert serve.asked == 2


def test_no_request_waits_for_the_number(serve: Serve) -> None:
    """Until the first answer is there, the replica assumes that it is alone and does not ask again."""
    serve.running = 4
    started: list[Callable[[], None]] = []
    replicas = ReplicaCount(serve.ask, clock=lambda: serve.now, background=started.append)
    assert replicas() == 1
    serve.now += EVERY_SECONDS
    assert replicas() == 1
    (update,) = started
    update()
    assert replicas() == 4


def test_the_controller_is_asked_in_a_thread() -> None:
    """Without another background, the question runs in a thread of its own."""
    asked_by: SimpleQueue[threading.Thread] = SimpleQueue()

    def ask() -> int:
        asked_by.put(threading.current_thread())
        return 2

    ReplicaCount(ask)()
    assert asked_by.get(timeout=10) is not threading.main_thread()


def test_a_controller_that_is_away_changes_nothing(
    serve: Serve, replicas: ReplicaCount, caplog: pytest.LogCaptureFixture
) -> None:
    """While the controller does not answer, the last number stands, and the log says so."""
    serve.running = 3
    assert replicas() == 3
    serve.running, serve.now = -1, EVERY_SECONDS
    with caplog.at_level(logging.WARNING, "capstan"):
        assert replicas() == 3
    assert "3 are assumed" in caplog.text


def test_there_is_always_one(serve: Serve, replicas: ReplicaCount) -> None:
    """A controller that does not count this replica yet does not make the limits endless."""
    serve.running = 0
    assert replicas() == 1
