"""How well limits hold across replicas, as docs/access.md says."""

import pytest

from tests.unit.api.auth.sharing import Load, measure


def test_a_divided_limit_is_never_passed() -> None:
    """However much a key sends, four replicas that divide its limit let no more than that through."""
    found = measure(Load(requests_per_minute=60, demand=20, minutes=3))
    assert found.passed == pytest.approx(1, abs=0.03)
    assert measure(Load(concurrent_requests=8, demand=20, minutes=1)).most_at_once == 8


def test_a_limit_that_is_not_divided_is_passed_once_for_each_replica() -> None:
    """Four replicas that each grant the whole limit let four times as much through."""
    found = measure(Load(requests_per_minute=60, demand=20, shared_by=1, minutes=3))
    assert found.passed == pytest.approx(4, abs=0.25)


@pytest.mark.parametrize("least_busy", [True, False])
def test_a_divided_limit_refuses_next_to_nothing_below_it(least_busy: bool) -> None:
    """A key that sends nine tenths of its limit is refused less than one request in a hundred."""
    assert measure(Load(requests_per_minute=60, least_busy=least_busy)).refused < 0.01
