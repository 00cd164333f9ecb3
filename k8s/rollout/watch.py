"""Watching a rollout to its end: asking for the verdict again and again until it says done or failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from k8s.errors import RolloutError, UnreachableError
from k8s.rules.failures import Failure
from k8s.rules.goal import Goal
from k8s.rules.verdict import State, judge, waiting
from k8s.state.snapshot import Snapshot

INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as a watch needs it; a test gives its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def watch(
    observe: Callable[[], Snapshot],
    goal: Goal,
    *,
    timeout_s: float,
    say: Callable[[str], None],
    clock: Clock,
) -> Snapshot:
    """Look every 2 s until the rollout is done; returns the last snapshot.

    An API server that does not answer is asked again until the deadline. Raises RolloutError (`failure` says
    which) where the rollout failed or `timeout_s` seconds have passed.
    """
    end = clock.monotonic() + timeout_s
    last = "nothing seen yet"
    while True:
        try:
            seen = observe()
            verdict = judge(seen, goal)
        except UnreachableError as error:
            verdict = waiting(f"{error}; trying again")
        if verdict.sentence != last:
            say(verdict.sentence)
        last = verdict.sentence
        if verdict.state is State.DONE:
            return seen
        if verdict.state is State.FAILED:
            raise WatchError(verdict.sentence, verdict.failure)
        if clock.monotonic() >= end:
            raise WatchError(f"not done within {timeout_s:g} s (--timeout); last seen: {last}", None)
        clock.sleep(INTERVAL_S)


class WatchError(RolloutError):
    """A rollout that failed, or that passed its deadline (`failure` is None then)."""

    def __init__(self, sentence: str, failure: Failure | None) -> None:
        super().__init__(sentence)
        self.failure = failure
