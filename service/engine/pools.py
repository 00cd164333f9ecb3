"""Which row of the key-value cache a sequence lives in.

The cache consists of pools of rows; a pool's rows have one capacity in tokens. A sequence takes a row of the
smallest pool that holds its prompt and its longest answer, so that short ones neither reserve nor read what
long ones need. Within a pool the rows in use are always the first ones: reading the cache is then a view.
"""

from dataclasses import dataclass

SMALLEST_CAPACITY = 256
GROWTH = 4


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool: `rows` sequences of up to `capacity` tokens each."""

    rows: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a pool."""

    pool: int
    row: int


def plan_pools(
    *, slots: int, context_length: int, token_bytes: int, cache_bytes: int
) -> tuple[PoolPlan, ...]:
    """Divide `cache_bytes` among pools of growing capacity, `token_bytes` a token, smallest first.

    Every pool gets an equal share at most and no more rows than `slots`; what a small pool leaves goes to the
    larger ones. A capacity of which not even one row fits is left out, so that the largest pool tells which
    requests can never be served.
    """
    capacities = [min(SMALLEST_CAPACITY, context_length)]
    while capacities[-1] < context_length:
        capacities.append(min(capacities[-1] * GROWTH, context_length))
    left, plans = cache_bytes // token_bytes, list[PoolPlan]()  # in tokens
    for index, capacity in enumerate(capacities):
        share = left // (len(capacities) - index)
        rows = min(slots, share // capacity)
        if rows == 0 and not plans and left >= capacity:
            rows = 1
        if rows:
            plans.append(PoolPlan(rows, capacity))
            left -= rows * capacity
    return tuple(plans)


class Pools:
    """Rows in use. Pure bookkeeping: what it says to move, the cache must move."""

    def __init__(self, plans: tuple[PoolPlan, ...]) -> None:
        self.plans = plans
        self.used = [0] * len(plans)

    @property
    def largest(self) -> int:
        """Tokens of the longest sequence that can ever be held."""
        return max((plan.capacity for plan in self.plans), default=0)

    def take(self, tokens: int) -> Place | None:
        """A row for a sequence of up to `tokens` tokens, or None while all such rows are in use."""
        for index, plan in enumerate(self.plans):
            if plan.capacity >= tokens and self.used[index] < plan.rows:
                self.used[index] += 1
                return Place(index, self.used[index] - 1)
        return None

    def give_back(self, place: Place) -> Place | None:
        """Free a row. The pool's last row in use, if another, is to be moved to it: that row is returned."""
        self.used[place.pool] -= 1
        last = self.used[place.pool]
        return None if last == place.row else Place(place.pool, last)
