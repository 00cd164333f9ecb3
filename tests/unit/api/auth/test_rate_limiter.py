"""How the limits of a key are counted."""

from typing import Any

import pytest

from service.api.auth.keys import ApiKey
from service.api.auth.rate_limiter import RateLimiter, RateLimiters, format_duration
from service.errors import ErrorCode, RequestError


class World:
    """A clock and a number of replicas that a test moves."""

    def __init__(self, replicas: int = 1) -> None:
        self.now, self.replicas = 0.0, replicas

    def limiters(self) -> RateLimiters:
        return RateLimiters(clock=lambda: self.now, replicas=lambda: self.replicas)

    def limiter(self, **limits: Any) -> RateLimiter:
        return self.limiters().of(key(**limits))


def key(name: str = "alice", **limits: Any) -> ApiKey:
    return ApiKey(name=name, sha256="0" * 64, **limits)


def acquired(limiter: RateLimiter) -> bool:
    """Whether a request that starts now is admitted."""
    try:
        limiter.acquire()
    except RequestError:
        return False
    return True


def test_a_key_without_limits_is_never_refused() -> None:
    """An entry without limits is never refused and gets no headers."""
    limiter = World().limiter()
    assert all(acquired(limiter) for _ in range(1000))
    limiter.charge(10_000)
    assert list(limiter.headers()) == []


def test_a_refusal_says_when_to_come_again() -> None:
    """The request after the last one of a minute is refused with the seconds until the next may pass."""
    limiter = World().limiter(requests_per_minute=6)
    for _ in range(6):
        limiter.acquire()
    with pytest.raises(
        RequestError, match="its requests; its limit is 6 a minute; try again in 10 s"
    ) as caught:
        limiter.acquire()
    assert caught.value.retry_after == pytest.approx(10)
    assert caught.value.code is ErrorCode.RATE_LIMITED


def test_each_answer_counts_as_a_request() -> None:
    """A request for several answers spends as many requests; too many at once are refused for good."""
    limiter = World().limiter(requests_per_minute=4, images_per_minute=1)
    limiter.acquire()
    with pytest.raises(RequestError, match="request has 5 answers; the limit of key alice is 4 a minute"):
        limiter.charge(0, answers=5)
    limiter.charge(1, answers=3)
    assert limiter.requests is not None
    assert limiter.requests.remaining == 1


def test_answers_that_are_refused_cost_no_images() -> None:
    """Where the answers of a request are too many for now, its images are not counted either."""
    limiter = World().limiter(requests_per_minute=4, images_per_minute=2)
    limiter.acquire()
    limiter.acquire()
    with pytest.raises(RequestError, match="its requests"):
        limiter.charge(2, answers=4)
    assert limiter.images is not None
    assert limiter.images.remaining == 2


def test_a_refused_request_costs_nothing() -> None:
    """Clients that try again too early do not push their next chance away."""
    world = World()
    limiter = world.limiter(requests_per_minute=6, concurrent_requests=100)
    outcomes = []
    for _ in range(120):
        outcomes.append(acquired(limiter))
        world.now += 1
    assert sum(outcomes) == 6 + 11


def test_as_many_run_at_once_as_the_limit_says() -> None:
    """A request beyond the limit waits for one to end, and does not use up a minute's budget."""
    limiter = World().limiter(concurrent_requests=2, requests_per_minute=3)
    assert [acquired(limiter) for _ in range(3)] == [True, True, False]
    limiter.release()
    assert [acquired(limiter), acquired(limiter)] == [True, False]
    limiter.release()
    limiter.release()
    assert not acquired(limiter)


def test_images_are_counted_on_their_own() -> None:
    """Images have a budget of their own, next to that of requests."""
    limiter = World().limiter(images_per_minute=10)
    limiter.charge(8)
    limiter.charge(0)
    with pytest.raises(RequestError, match="used up its images; its limit is 10 a minute; try again in 6 s"):
        limiter.charge(3)
    limiter.charge(2)


def test_more_images_than_any_minute_allows_are_a_mistake() -> None:
    """A request with more images than the limit is refused for good, as no waiting would help."""
    with pytest.raises(RequestError, match="has 11 images; the limit of key alice is 10 a minute") as caught:
        World().limiter(images_per_minute=10).charge(11)
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_a_replica_grants_its_share() -> None:
    """One of four replicas grants a quarter of each limit."""
    limiter = World(replicas=4).limiter(requests_per_minute=40, concurrent_requests=100)
    assert sum(acquired(limiter) for _ in range(40)) == 10
    limiter = World(replicas=4).limiter(concurrent_requests=10)
    assert sum(acquired(limiter) for _ in range(40)) == 3


def test_a_request_with_more_images_than_a_share_passes() -> None:
    """A request that the limit allows is not refused because a replica's share is smaller."""
    limiter = World(replicas=8).limiter(images_per_minute=16)
    limiter.charge(16)
    with pytest.raises(RequestError, match="shared by 8 replicas"):
        limiter.charge(1)


def test_a_share_follows_the_number_of_replicas() -> None:
    """When replicas come, the share falls at once; what was used stays used."""
    world = World()
    limiter = world.limiter(requests_per_minute=60)
    for _ in range(10):
        limiter.acquire()
    world.replicas = 4
    assert sum(acquired(limiter) for _ in range(60)) == 5


def test_the_headers_tell_how_the_key_stands() -> None:
    """The headers have OpenAI's names for the limit, the rest of it, and the time until it is full."""
    world = World()
    limiter = world.limiter(requests_per_minute=60, images_per_minute=600)
    for _ in range(3):
        limiter.acquire()
    limiter.charge(5)
    assert dict(limiter.headers()) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "57",
        "x-ratelimit-reset-requests": "3s",
        "x-ratelimit-limit-images": "600",
        "x-ratelimit-remaining-images": "595",
        "x-ratelimit-reset-images": "500ms",
    }


def test_remaining_is_zero_just_when_the_next_is_refused() -> None:
    """However many replicas share a limit, a replica says 0 left when it would refuse the next request."""
    limiter = World(replicas=3).limiter(requests_per_minute=100)
    found = []
    while acquired(limiter):
        standing = limiter.requests
        assert standing is not None
        found.append(standing.remaining)
    assert found[0] == 96
    assert [left == 0 for left in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0004, "1ms"), (0.25, "250ms"), (1.2, "2s"), (60, "1m0s"), (359.5, "6m0s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    """A duration is rounded up, so that waiting that long is enough."""
    assert format_duration(seconds) == text


def test_new_limits_hold_for_what_was_used_before() -> None:
    """A limit that changes in the file holds from the next request on, and forgets nothing."""
    limiters = World().limiters()
    for _ in range(5):
        limiters.of(key(requests_per_minute=5)).acquire()
    assert not acquired(limiters.of(key(requests_per_minute=5)))
    assert acquired(limiters.of(key(requests_per_minute=6)))
    assert acquired(limiters.of(key("bob", requests_per_minute=1)))
