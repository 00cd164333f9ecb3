"""The limits of a key on this replica, and the headers that report them."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.api.auth.keys import ApiKey
from service.api.auth.token_bucket import TokenBucket
from service.errors import ErrorCode, Refusal, RequestError

# When a running request will end is unknown; a client that retries this much later does no harm.
RETRY_CONCURRENT_SECONDS = 1.0

# The rate-limit headers of OpenAI's API. Pages of other origins may read them.
HEADERS = tuple(
    f"x-ratelimit-{part}-{counted}"
    for counted in ("requests", "images")
    for part in ("limit", "remaining", "reset")
)


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A limit per minute, what is left of it, and the seconds until all of it is available again."""

    limit: int
    remaining: int
    reset: float


class RateLimiter:
    """Counts the requests of one key. A replica grants its share of each limit: the limit over `replicas`."""

    def __init__(self, key: ApiKey, clock: Callable[[], float], replicas: Callable[[], int]) -> None:
        self.key = key
        self.running = 0
        self._clock = clock
        self._replicas = replicas
        self._requests = TokenBucket(clock())
        self._images = TokenBucket(clock())

    def acquire(self) -> None:
        """Count a request that starts. Raises RequestError with `rate_limited`; it then does not count."""
        limit = self.key.concurrent_requests
        if limit is not None and self.running >= math.ceil(limit / self._replicas()):
            raise RequestError(
                ErrorCode.RATE_LIMITED,
                f"key {self.key.name} has {self.running} requests running on this replica; its limit is "
                f"{limit} at once{self._shared()}; wait until one ends",
                retry_after=RETRY_CONCURRENT_SECONDS,
                refusal=Refusal.CONCURRENT_REQUESTS,
            )
        if self.key.requests_per_minute is not None:
            self._check(self._requests, 1, self.key.requests_per_minute, Refusal.REQUESTS_PER_MINUTE)
            self._requests.spend(1)
        self.running += 1

    def release(self) -> None:
        """Count a request that has ended, in whatever way."""
        self.running -= 1

    def charge(self, images: int, answers: int = 1) -> None:
        """Count the images of a request, and each answer after the first as a request.

        Raises RequestError with `rate_limited`, or with `invalid_request` for more than the whole limit.
        """
        self._refuse_more(images, self.key.images_per_minute, "images")
        self._refuse_more(answers, self.key.requests_per_minute, "answers")
        spent = (
            (self._images, images, self.key.images_per_minute, Refusal.IMAGES_PER_MINUTE),
            (self._requests, answers - 1, self.key.requests_per_minute, Refusal.REQUESTS_PER_MINUTE),
        )
        for bucket, count, limit, refusal in spent:  # before either is spent: a refusal costs nothing
            if limit is not None and count:
                self._check(bucket, count, limit, refusal)
        for bucket, count, limit, _ in spent:
            if limit is not None:
                bucket.spend(count)

    def headers(self) -> Iterator[tuple[str, str]]:
        """The rate-limit headers of a response, for each limit that the key has."""
        for counted, status in (("requests", self.requests), ("images", self.images)):
            if status is not None:
                yield f"x-ratelimit-limit-{counted}", str(status.limit)
                yield f"x-ratelimit-remaining-{counted}", str(status.remaining)
                yield f"x-ratelimit-reset-{counted}", format_duration(status.reset)

    @property
    def requests(self) -> LimitStatus | None:
        """The status of the limit on requests; None without one."""
        return self._status(self._requests, self.key.requests_per_minute)

    @property
    def images(self) -> LimitStatus | None:
        """The status of the limit on images; None without one."""
        return self._status(self._images, self.key.images_per_minute)

    def _refuse_more(self, count: int, limit: int | None, counted: str) -> None:
        if limit is not None and count > limit:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"request has {count} {counted}; the limit of key {self.key.name} is {limit} a minute; "
                "send fewer at once",
            )

    def _check(self, bucket: TokenBucket, count: int, limit: int, refusal: Refusal) -> None:
        seconds = bucket.wait(count, limit / self._replicas(), self._clock())
        if seconds > 0:
            counted = refusal.partition("_")[0]
            raise RequestError(
                ErrorCode.RATE_LIMITED,
                f"key {self.key.name} has used up its {counted}; its limit is {limit} a minute"
                f"{self._shared()}; try again in {math.ceil(seconds)} s",
                retry_after=seconds,
                refusal=refusal,
            )

    def _shared(self) -> str:
        replicas = self._replicas()
        return f", shared by {replicas} replicas" if replicas > 1 else ""

    def _status(self, bucket: TokenBucket, limit: int | None) -> LimitStatus | None:
        if limit is None:
            return None
        replicas, now = self._replicas(), self._clock()
        share = limit / replicas
        # The other replicas get the same load, so they are assumed to have as much left. 0 is exact.
        remaining = min(limit, math.floor(bucket.left(share, now) + 1e-9) * replicas)
        return LimitStatus(limit, remaining, bucket.reset(share, now))


class RateLimiters:
    """The limiters of all keys used so far, by name, so that a new keys file does not reset them."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, replicas: Callable[[], int] = lambda: 1
    ) -> None:
        self._clock = clock
        self._replicas = replicas
        self._limiters: dict[str, RateLimiter] = {}

    def of(self, key: ApiKey) -> RateLimiter:
        """The limiter of a key, with the limits that its entry has now."""
        limiter = self._limiters.get(key.name)
        if limiter is None:
            limiter = self._limiters[key.name] = RateLimiter(key, self._clock, self._replicas)
        limiter.key = key
        return limiter


def format_duration(seconds: float) -> str:
    """Seconds as OpenAI writes them, rounded up: `0s`, `120ms`, `7s`, `6m0s`."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
