"""Doing one thing until the API server answers."""

from collections.abc import Callable
from typing import TypeVar

from k8s.errors import UnreachableError
from k8s.rollout.watch import INTERVAL_S, Clock

LIMIT_S = 120.0

Got = TypeVar("Got")


def insist(
    act: Callable[[], Got], say: Callable[[str], None], clock: Clock, *, limit_s: float = LIMIT_S
) -> Got:
    """What `act` gives, tried again while nobody answers.

    `act` must bear being done twice. Raises UnreachableError after `limit_s` seconds, or what it raises.
    """
    end = clock.monotonic() + limit_s
    told = False
    while True:
        try:
            return act()
        except UnreachableError as error:
            if clock.monotonic() >= end:
                raise
            if not told:
                say(f"{error}; trying again")
            told = True
            clock.sleep(INTERVAL_S)
