"""Watching a rollout until the verdict is done or failed."""

from collections.abc import Callable

from k8s.clients.retry import INTERVAL_S, Clock
from k8s.errors import RolloutError, UnreachableError
from k8s.planning.failures import Failure
from k8s.planning.target import Target
from k8s.planning.verdict import State, judge, waiting
from k8s.resources.snapshot import Snapshot


class WatchError(RolloutError):
    """A rollout failed, or passed its deadline (`failure` is None then)."""

    def __init__(self, sentence: str, failure: Failure | None) -> None:
        super().__init__(sentence)
        self.failure = failure


def watch(
    observe: Callable[[], Snapshot],
    target: Target,
    *,
    timeout_s: float,
    say: Callable[[str], None],
    clock: Clock,
) -> Snapshot:
    """Observe every 2 s until the rollout is done; returns the last snapshot.

    An API server that does not answer is asked again until the deadline. Raises WatchError where the rollout
    failed or `timeout_s` seconds have passed.
    """
    end = clock.monotonic() + timeout_s
    last = "nothing seen yet"
    while True:
        try:
            seen = observe()
            verdict = judge(seen, target)
        except UnreachableError as error:
            verdict = waiting(f"{error}; retrying")
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
