"""A token bucket: so many a minute, and a minute's worth at once."""


class Bucket:
    """What a key has used of one limit.

    It counts what was spent, which melts away at `per_minute`, so that a limit may change at any time. At
    most `per_minute` (one, if that is less) may be spent at once: over T minutes no more than
    `per_minute` x (T + 1) pass.
    """

    def __init__(self, now: float) -> None:
        self.spent = 0.0
        self._at = now

    def wait(self, count: int, per_minute: float, now: float) -> float:
        """Seconds until `count` may be spent; 0 if they may now.

        More than fit at once may be spent by a bucket that nothing was taken from: the debt is paid off
        before anything else passes.
        """
        self._melt(per_minute, now)
        room = capacity(per_minute)
        over = self.spent + min(count, room) - room
        # What is left of a rounding error is no reason to wait.
        return over * 60 / per_minute if over > 1e-9 else 0.0

    def spend(self, count: int) -> None:
        """Take `count`, which `wait` has just allowed."""
        self.spent += count

    def left(self, per_minute: float, now: float) -> float:
        """How much may be spent now."""
        self._melt(per_minute, now)
        return max(0.0, capacity(per_minute) - self.spent)

    def reset(self, per_minute: float, now: float) -> float:
        """Seconds until all of it may be spent."""
        self._melt(per_minute, now)
        return self.spent * 60 / per_minute

    def _melt(self, per_minute: float, now: float) -> None:
        self.spent = max(0.0, self.spent - (now - self._at) * per_minute / 60)
        self._at = now


def capacity(per_minute: float) -> float:
    """What may be spent at once: a minute's worth, and never less than one."""
    return max(1.0, per_minute)
