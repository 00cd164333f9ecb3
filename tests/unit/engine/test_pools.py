"""Where sequences live in the key-value cache: pools that are made, grown and trimmed on a line of tokens."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.pools import Place, Pool, Pools, capacities


def test_capacities_grow_by_a_quarter() -> None:
    """Each capacity is about a quarter more than the one before, up to the longest sequence."""
    assert capacities(600) == (256, 320, 400, 512, 600)
    assert capacities(100) == (100,)
    found = capacities(32_768)
    assert found[-1] == 32_768
    assert all(larger <= 1.32 * smaller for smaller, larger in pairwise(found))


def test_a_cache_of_a_large_gpu_is_filled_with_large_prompts() -> None:
    """More than a hundred requests of 13 tiles and 1,024 tokens fit into 65 GiB of InternVL2-8B's cache."""
    tokens = 65 * 2**30 // (128 * 2**10)
    pools = Pools(tokens, capacities(32_768), rows=256)
    taken = 0
    while pools.take(13 * 256 + 40 + 1024) is not None:
        taken += 1
    assert taken > 100


def test_sequences_of_like_length_share_a_pool() -> None:
    """A pool grows with its sequences, so that a step reads them as one."""
    pools = Pools(10_000, (10, 100), rows=64)
    places = [pools.take(7) for _ in range(20)]
    assert {place.pool for place in places if place} == {pools.pools[0]}
    assert [place.row for place in places if place] == list(range(20))
    assert (pools.pools[0].capacity, pools.pools[0].used) == (10, 20)


def test_a_pool_has_no_more_rows_than_there_are_slots() -> None:
    """Rows beyond what may be decoded together are never made."""
    pools = Pools(10_000, (10,), rows=5)
    for _ in range(5):
        pools.take(10)
    assert [pool.rows for pool in pools.pools] == [5]


def test_while_there_is_plenty_a_sequence_joins_a_longer_pool() -> None:
    """A short sequence takes a row up to four times its length rather than open a pool of its own."""
    pools = Pools(10_000, (10, 40, 50), rows=64)
    first = pools.take(40)
    assert first is not None
    joined, apart = pools.take(10), pools.take(9)
    assert joined is not None
    assert apart is not None
    assert joined.pool is first.pool
    assert apart.pool.capacity == 10


def test_when_there_is_little_left_a_sequence_takes_no_more_than_it_needs() -> None:
    """With half of the cache in use a short sequence opens a pool of its own."""
    pools = Pools(100, (10, 40), rows=64)
    long = [pools.take(40), pools.take(40)]
    short = pools.take(10)
    assert None not in long
    assert short is not None
    assert short.pool.capacity == 10


def test_a_new_pool_leaves_room_to_grow() -> None:
    """A second pool begins in the middle of what is left, so that both can grow where they are."""
    pools = Pools(1000 * 16, (16, 160), rows=64)
    pools.take(16)
    pools.take(160)
    first, second = pools.pools
    assert first.start == 0
    assert second.start > 400 * 16
    assert second.start < 600 * 16


def test_rows_that_nobody_uses_make_room_for_other_lengths() -> None:
    """Memory that one length has left is given to another as soon as it is wanted."""
    pools = Pools(160, (10, 160), rows=64)
    short = [pools.take(10) for _ in range(16)]
    assert pools.take(160) is None
    for place in reversed(short):
        assert place is not None
        pools.give_back(place)
    assert pools.take(160) == Place(pools.pools[0], 0)


def test_the_last_row_in_use_stays_while_the_rest_is_trimmed() -> None:
    """Trimming takes free rows at the end of a pool only, so that nothing in use has to move."""
    pools = Pools(100, (10, 50), rows=64)
    places = [pools.take(10) for _ in range(8)]
    for place in reversed(places[1:]):
        assert place is not None
        pools.give_back(place)
    longer = pools.take(50)
    assert longer is not None
    assert longer.pool.start >= 10
    assert pools.pools[0].rows == 1


def test_rows_in_use_stay_the_first_ones() -> None:
    """A row given back is filled by the last one in use, unless it was the last."""
    pools = Pools(30, (10,), rows=3)
    first, _, last = (pools.take(1) for _ in range(3))
    assert first is not None
    assert pools.give_back(first) == last
    assert pools.used == 20
    assert pools.give_back(Place(first.pool, 1)) is None


@pytest.mark.parametrize("tokens", [101, 10_000])
def test_too_long_a_sequence_never_gets_a_row(tokens: int) -> None:
    """A sequence longer than the largest capacity gets none, however much is free."""
    pools = Pools(100_000, (100,), rows=9)
    assert pools.take(tokens) is None
    assert pools.largest == 100


@pytest.mark.slow
@given(
    size=st.integers(1, 3000),
    rows=st.integers(1, 8),
    events=st.lists(st.tuples(st.integers(1, 600), st.integers(0, 3)), max_size=60),
)
def test_pools_never_overlap_and_nothing_is_lost(size: int, rows: int, events: list[tuple[int, int]]) -> None:
    """Whatever comes and goes, pools lie apart within the cache, and an empty cache takes the longest."""
    pools = Pools(size, capacities(min(512, size)), rows=rows)
    held: dict[Pool, list[int]] = {}
    for wanted, ends in events:
        place = pools.take(wanted)
        if place is not None:
            assert place.pool.capacity >= wanted
            assert place.row == len(held.setdefault(place.pool, []))
            held[place.pool].append(wanted)
        for _ in range(ends):
            pool = next((pool for pool, found in held.items() if found), None)
            if pool is not None:
                pools.give_back(Place(pool, 0))
                held[pool][0] = held[pool][-1]
                held[pool].pop()
        assert all(pool.used == len(found) <= pool.rows for pool, found in held.items() if found)
        assert all(one.end <= other.start for one, other in pairwise(pools.pools))
        assert all(pool.start >= 0 and pool.end <= size and pool.rows <= rows for pool in pools.pools)
        assert {pool for pool, found in held.items() if found} <= set(pools.pools)
    for pool, found in held.items():
        for row in reversed(range(len(found))):
            pools.give_back(Place(pool, row))
    assert pools.used == 0
    assert pools.take(pools.largest) is not None
