"""The plan of the key-value cache and the bookkeeping of its rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.pools import Place, PoolPlan, Pools, plan_pools


@given(
    slots=st.integers(1, 128),
    context_length=st.integers(1, 32_768),
    token_bytes=st.integers(1, 200_000),
    cache_bytes=st.integers(0, 2**36),
)
def test_a_plan_keeps_within_its_bytes(
    slots: int, context_length: int, token_bytes: int, cache_bytes: int
) -> None:
    """Whatever the sizes, the pools together take no more than the cache may."""
    plans = plan_pools(
        slots=slots, context_length=context_length, token_bytes=token_bytes, cache_bytes=cache_bytes
    )
    assert sum(plan.rows * plan.capacity for plan in plans) * token_bytes <= cache_bytes
    assert all(1 <= plan.rows <= slots for plan in plans)
    assert [plan.capacity for plan in plans] == sorted({plan.capacity for plan in plans})


def test_a_large_cache_serves_the_whole_context() -> None:
    """With room enough every pool has a row for every slot, and the largest holds the whole context."""
    plans = plan_pools(slots=4, context_length=3000, token_bytes=1, cache_bytes=10**6)
    assert plans == (PoolPlan(4, 256), PoolPlan(4, 1024), PoolPlan(4, 3000))


def test_a_small_cache_leaves_out_what_does_not_fit() -> None:
    """A capacity of which no row fits is left out, so that longer requests are refused rather than hang."""
    plans = plan_pools(slots=4, context_length=4096, token_bytes=1, cache_bytes=1000)
    assert max(plan.capacity for plan in plans) < 4096
    assert plans


def test_a_cache_that_holds_nothing_has_no_pools() -> None:
    """A cache smaller than one row has no pools."""
    assert plan_pools(slots=4, context_length=4096, token_bytes=1, cache_bytes=100) == ()


def test_a_sequence_takes_the_smallest_row_that_holds_it() -> None:
    """A short sequence leaves the long rows to long ones."""
    pools = Pools((PoolPlan(1, 10), PoolPlan(1, 100)))
    assert pools.take(10) == Place(0, 0)
    assert pools.take(11) == Place(1, 0)


def test_a_sequence_takes_a_longer_row_when_the_short_ones_are_in_use() -> None:
    """Rather than wait, a short sequence takes a longer row."""
    pools = Pools((PoolPlan(1, 10), PoolPlan(1, 100)))
    assert [pools.take(5), pools.take(5), pools.take(5)] == [Place(0, 0), Place(1, 0), None]


def test_rows_in_use_stay_the_first_ones() -> None:
    """A row given back is filled by the last one in use, unless it was the last."""
    pools = Pools((PoolPlan(3, 10),))
    first, _, last = (pools.take(1) for _ in range(3))
    assert first is not None
    assert pools.give_back(first) == last
    assert pools.used == [2]
    assert pools.give_back(Place(0, 1)) is None


@pytest.mark.parametrize("tokens", [101, 10_000])
def test_too_long_a_sequence_never_gets_a_row(tokens: int) -> None:
    """A sequence longer than the largest row gets none, however many are free."""
    pools = Pools((PoolPlan(9, 100),))
    assert pools.take(tokens) is None
    assert pools.largest == 100
