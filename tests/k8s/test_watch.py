"""Watching a rollout to its end."""

from collections.abc import Iterator
from typing import Any

import pytest

from k8s.errors import UnreachableError
from k8s.planning.verdict import Target
from k8s.resources.rayservice import serve_applications
from k8s.resources.snapshot import Snapshot
from k8s.rollout.watch import WatchError, watch
from tests.k8s.test_failures import crash_loop
from tests.k8s.test_verdict import updating
from tests.k8s.world import Time, World


def run(seen: Iterator[Any], world: World, timeout_s: float = 60) -> tuple[list[str], Time]:
    lines: list[str] = []
    time = Time()

    def observe() -> Snapshot:
        found = next(seen)
        if isinstance(found, Exception):
            raise found
        return found

    target = Target(world.service["metadata"]["generation"], serve_applications(world.service))
    watch(observe, target, timeout_s=timeout_s, say=lines.append, clock=time.clock())
    return lines, time


def endless(found: Snapshot) -> Iterator[Snapshot]:
    while True:
        yield found


def test_watch_survives_an_absent_api_server(world: World) -> None:
    """An API server that does not answer is asked again, and the rollout goes on."""
    away = [UnreachableError("the API server does not answer (timeout)")] * 10
    lines, time = run(iter([*away, world.snapshot()]), world)
    assert lines[0] == "the API server does not answer (timeout); retrying"
    assert len(lines) == 2
    assert time.now == 20


def test_watch_ends_at_its_deadline(world: World) -> None:
    """A watch ends at its deadline and says what it last saw."""
    updating(world)
    with pytest.raises(
        WatchError, match=r"not done within 60 s \(--timeout\); last seen: shapes: 2 of 2"
    ) as error:
        run(endless(world.snapshot()), world)
    assert error.value.failure is None


def test_watch_ends_at_a_failure(world: World) -> None:
    """A watch ends at once when the rollout fails, and names the guilty pod."""
    crash_loop(world)
    with pytest.raises(WatchError) as error:
        run(endless(world.snapshot()), world)
    assert error.value.failure is not None
    assert error.value.failure.pod == world.worker()["metadata"]["name"]
