"""Waits that end: with what was waited for, or with what was seen last."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 1.0

Seen = TypeVar("Seen")


class NotInTimeError(AssertionError):
    """What was waited for did not come before the deadline."""


def until(what: str, look: Callable[[], Seen], good: Callable[[Seen], bool], *, seconds: float) -> Seen:
    """Look again and again until what is seen is good, and give it.

    Raises NotInTimeError, which tells what was seen last, after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() >= deadline:
            raise NotInTimeError(f"{what}: not within {seconds:.0f} s; last seen: {seen}")
        time.sleep(POLL_SECONDS)
