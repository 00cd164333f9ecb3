"""Where in the key-value cache a sequence lives.

The cache is a line of tokens. Sequences of like length share a pool: a stretch of the line, divided into
rows of one capacity. Pools are made, grown and trimmed as sequences come and go, so that memory goes to the
lengths that are asked for. Within a pool the rows in use are always the first ones: reading the cache is then
a view. All of this is bookkeeping; the cache itself stays where it is.
"""

from dataclasses import dataclass

SMALLEST_CAPACITY = 256
# Capacities grow by a quarter, so that a row is at most a fifth longer than its sequence may become.
GROWTH = 1.25
ALIGNMENT = 16
# While most of the cache is free, a sequence joins a pool of rows this many times as long as itself: a step
# reads each pool by itself, so few pools are quicker than well-fitting ones.
JOIN = 4


@dataclass(eq=False, slots=True)
class Pool:
    """Rows of `capacity` tokens, one after the other from token `start` on; the first `used` are in use."""

    start: int
    capacity: int
    rows: int
    used: int = 0

    @property
    def end(self) -> int:
        """The token after the last row."""
        return self.start + self.rows * self.capacity


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a pool."""

    pool: Pool
    row: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Tokens `start` to `end`, which no pool has."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Its tokens."""
        return self.end - self.start


def capacities(longest: int) -> tuple[int, ...]:
    """The capacities of rows, up to the longest sequence there may be."""
    found = [min(SMALLEST_CAPACITY, longest)]
    while found[-1] < longest:
        more = -(-int(found[-1] * GROWTH) // ALIGNMENT) * ALIGNMENT
        found.append(min(more, longest))
    return tuple(found)


class Pools:
    """A cache of `tokens` tokens. `capacities` are what rows may have, `rows` how many a pool may have."""

    def __init__(self, tokens: int, capacities: tuple[int, ...], *, rows: int) -> None:
        self.tokens = tokens
        self.capacities = capacities
        self.rows = rows
        self.pools: list[Pool] = []  # in the order in which they lie

    @property
    def largest(self) -> int:
        """Tokens of the longest sequence that can ever be held."""
        return max(self.capacities, default=0)

    @property
    def used(self) -> int:
        """Tokens of the rows that are in use."""
        return sum(pool.used * pool.capacity for pool in self.pools)

    def take(self, tokens: int) -> Place | None:
        """A row for a sequence of up to `tokens` tokens, or None while there is no room for one."""
        own = next((capacity for capacity in self.capacities if capacity >= tokens), None)
        if own is None:
            return None
        pool = self._with_room(tokens, own) or self._new(own)
        if pool is None:
            self.trim()
            pool = self._with_room(tokens, own) or self._new(own)
        if pool is None:
            return None
        pool.used += 1
        return Place(pool, pool.used - 1)

    def give_back(self, place: Place) -> Place | None:
        """Free a row. The pool's last row in use, if another, is to be moved to it: that row is returned."""
        place.pool.used -= 1
        last = place.pool.used
        return None if last == place.row else Place(place.pool, last)

    def trim(self) -> None:
        """Give back the rows that are not in use, and with them whole pools."""
        for pool in self.pools:
            pool.rows = pool.used
        self.pools = [pool for pool in self.pools if pool.rows]

    def _with_room(self, tokens: int, own: int) -> Pool | None:
        """A pool with a free row, perhaps grown, that holds such a sequence; the shortest rows first."""
        longest = JOIN * tokens if self._plenty else own
        fitting = [pool for pool in self.pools if tokens <= pool.capacity <= max(own, longest)]
        fitting.sort(key=lambda pool: pool.capacity)
        return next((pool for pool in fitting if pool.used < pool.rows or self._grow(pool)), None)

    @property
    def _plenty(self) -> bool:
        return 2 * self.used < self.tokens

    def _grow(self, pool: Pool) -> bool:
        """Double the rows of a pool, or add as many as fit behind it; whether there is one more now."""
        after = next((gap for gap in self._gaps() if gap.start == pool.end), None)
        room = after.size // pool.capacity if after else 0
        more = min(pool.rows, self.rows - pool.rows, room)
        pool.rows += max(0, more)
        return more > 0

    def _new(self, capacity: int) -> Pool | None:
        """A pool of one row: in the middle of the largest gap, so that what is before it can grow too.

        Where little is left, at the beginning of the smallest gap that holds it.
        """
        fitting = [gap for gap in self._gaps() if gap.size >= capacity]
        if not fitting:
            return None
        if self._plenty and self.pools:
            gap = max(fitting, key=lambda gap: gap.size)
            middle = gap.start + gap.size // 2 // ALIGNMENT * ALIGNMENT
            start = min(middle, gap.end - capacity)
        else:
            start = min(fitting, key=lambda gap: gap.size).start
        pool = Pool(start, capacity, rows=1)
        self.pools = sorted([*self.pools, pool], key=lambda pool: pool.start)
        return pool

    def _gaps(self) -> list[Gap]:
        """What no pool has, in order."""
        starts = [0, *(pool.end for pool in self.pools)]
        ends = [*(pool.start for pool in self.pools), self.tokens]
        gaps = [Gap(start, end) for start, end in zip(starts, ends, strict=True)]
        return [gap for gap in gaps if gap.size]
