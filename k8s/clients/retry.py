"""Retries of idempotent calls while the API server does not answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from k8s.errors import UnreachableError

INTERVAL_S = 2.0
# Shorter than a rollout's lease (rollout/lease.py), so that no retry outlives it.
LIMIT_S = 40.0

Result = TypeVar("Result")


def _ignore(_sentence: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Clock:
    """A monotonic clock and a way to sleep; tests inject their own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to retry (`limit_s` seconds; 0: not at all), and whom to tell once per call."""

    limit_s: float = 0.0
    say: Callable[[str], None] = _ignore
    clock: Clock = Clock()

    def run(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, retried every 2 s while it raises UnreachableError.

        `call` must be idempotent. Raises the last UnreachableError after `limit_s` seconds.
        """
        end = self.clock.monotonic() + self.limit_s
        said = False
        while True:
            try:
                return call()
            except UnreachableError as error:
                if self.clock.monotonic() >= end:
                    raise
                if not said:
                    self.say(f"{error}; retrying")
                said = True
                self.clock.sleep(INTERVAL_S)
