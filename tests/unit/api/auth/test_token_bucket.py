"""How a token bucket drains and refills."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.auth.token_bucket import TokenBucket


def passed(bucket: TokenBucket, count: int, per_minute: float, now: float) -> bool:
    """Spend `count` if that is allowed now."""
    if bucket.wait(count, per_minute, now):
        return False
    bucket.spend(count)
    return True


def test_a_minutes_worth_passes_at_once_and_no_more() -> None:
    """At one moment, exactly a minute's worth passes."""
    bucket = TokenBucket(0)
    assert sum(passed(bucket, 1, 60, 0) for _ in range(100)) == 60


def test_a_bucket_refills_evenly() -> None:
    """After a minute's worth, one passes each sixtieth of the minute."""
    bucket = TokenBucket(0)
    bucket.spend(60)
    assert [passed(bucket, 1, 60, now) for now in (0.5, 1, 1.5, 2)] == [False, True, False, True]


def test_the_wait_is_as_long_as_it_says() -> None:
    """A request that has to wait passes after exactly the seconds that `wait` returned."""
    bucket = TokenBucket(0)
    bucket.spend(30)
    seconds = bucket.wait(12, 30, 0)
    assert seconds == pytest.approx(24)
    assert bucket.wait(12, 30, seconds - 0.01) > 0
    assert bucket.wait(12, 30, seconds) == 0


def test_more_than_fits_passes_when_nothing_was_spent_and_is_paid_off() -> None:
    """A request larger than the bucket passes once it is untouched, and the rate still holds."""
    bucket = TokenBucket(0)
    assert passed(bucket, 25, 10, 0)
    assert not passed(bucket, 1, 10, 90)
    assert passed(bucket, 1, 10, 96)


def test_a_share_below_one_still_lets_one_pass() -> None:
    """Where a replica's share is less than one a minute, one passes as often as the share says."""
    bucket = TokenBucket(0)
    assert passed(bucket, 1, 0.5, 0)
    assert bucket.wait(1, 0.5, 0) == pytest.approx(120)


def test_a_limit_may_change_at_any_time() -> None:
    """A raised limit holds at once, as does a lowered one."""
    bucket = TokenBucket(0)
    bucket.spend(60)
    assert bucket.left(100, 0) == 40
    assert bucket.left(10, 0) == 0
    assert bucket.reset(100, 0) == pytest.approx(36)


@settings(max_examples=50, deadline=None)
@given(
    limit=st.integers(1, 50),
    arrivals=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=60),
)
def test_the_bound_holds_for_any_arrivals(limit: int, arrivals: list[tuple[float, int]]) -> None:
    """From its start over T minutes, no more than the limit times T + 1 passes, but for one request."""
    bucket, now, total = TokenBucket(0), 0.0, 0
    for gap, count in arrivals:
        now += gap
        if passed(bucket, count, limit, now):
            total += count
        assert total <= limit * (now / 60 + 1) + max(0, 5 - limit) + 1e-6
