"""A token bucket: `per_minute` tokens a minute, and a minute's worth at once."""


class TokenBucket:
    """What has been spent of one limit.

    It stores what was spent, which drains at `per_minute`, rather than what is left, so that the limit may
    change at any time. At most `per_minute` tokens (one, if that is less) can be spent at once: over T
    minutes no more than `per_minute` x (T + 1).
    """

    def __init__(self, now: float) -> None:
        self.spent = 0.0
        self._updated = now

    def wait(self, count: int, per_minute: float, now: float) -> float:
        """Seconds until `count` may be spent; 0 if they may be spent now.

        A full bucket accepts more than its capacity: the debt is then paid off before anything else passes.
        """
        self._drain(per_minute, now)
        size = capacity(per_minute)
        excess = self.spent + min(count, size) - size
        # A rounding error is no reason to wait.
        return excess * 60 / per_minute if excess > 1e-9 else 0.0

    def spend(self, count: int) -> None:
        """Spend `count`, which `wait` has just allowed."""
        self.spent += count

    def left(self, per_minute: float, now: float) -> float:
        """How much may be spent now."""
        self._drain(per_minute, now)
        return max(0.0, capacity(per_minute) - self.spent)

    def reset(self, per_minute: float, now: float) -> float:
        """Seconds until the bucket is full again."""
        self._drain(per_minute, now)
        return self.spent * 60 / per_minute

    def _drain(self, per_minute: float, now: float) -> None:
        self.spent = max(0.0, self.spent - (now - self._updated) * per_minute / 60)
        self._updated = now


def capacity(per_minute: float) -> float:
    """What may be spent at once: a minute's worth, and never less than one."""
    return max(1.0, per_minute)
