"""How many replicas share a limit."""

import logging

import pytest

from service.api.access.replicas import EVERY_SECONDS, Replicas


class Serve:
    """Stands in for the controller, and for the clock."""

    def __init__(self) -> None:
        self.now, self.running, self.asked = 0.0, 1, 0

    def ask(self) -> int:
        self.asked += 1
        if self.running < 0:
            raise TimeoutError
        return self.running


def settled(replicas: Replicas) -> int:
    """The number once nobody is being asked."""
    replicas()
    if replicas._thread is not None:
        replicas._thread.join(10)
    return replicas()


@pytest.fixture
def serve() -> Serve:
    return Serve()


@pytest.fixture
def replicas(serve: Serve) -> Replicas:
    return Replicas(serve.ask, clock=lambda: serve.now)


def test_the_number_follows_serve(serve: Serve, replicas: Replicas) -> None:
    """The number is asked for again after some seconds, and not before."""
    serve.running = 4
    assert settled(replicas) == 4
    serve.running = 2
    assert settled(replicas) == 4
    serve.now += EVERY_SECONDS
    assert settled(replicas) == 2
    assert serve.asked == 2


def test_nobody_waits_for_the_number(serve: Serve) -> None:
    """While the first answer is not there, the replica counts itself alone."""
    replicas = Replicas(lambda: 4, clock=lambda: serve.now)
    replicas._thread = Hanging()  # type: ignore[assignment]
    assert replicas() == 1


class Hanging:
    """A thread that has not ended."""

    def is_alive(self) -> bool:
        return True


def test_a_controller_that_is_away_changes_nothing(
    serve: Serve, replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    """While the controller does not answer, the last number stands, and the log says so."""
    serve.running = 3
    assert settled(replicas) == 3
    serve.running, serve.now = -1, EVERY_SECONDS
    with caplog.at_level(logging.WARNING, "capstan"):
        assert settled(replicas) == 3
    assert "3 are assumed" in caplog.text


def test_there_is_always_one(serve: Serve, replicas: Replicas) -> None:
    """A controller that does not count this replica yet does not make the limits endless."""
    serve.running = 0
    assert settled(replicas) == 1
