"""What a key has used of its limits on this replica."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.api.access.bucket import Bucket
from service.api.access.keys import Key
from service.errors import ErrorCode, RequestError

# When a place becomes free is not known; a client that asks again this much later does no harm.
RETRY_CONCURRENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit, what is left of it, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset: float


class Account:
    """The requests of one key. A replica grants its share of each limit: the limit divided by `replicas`."""

    def __init__(self, key: Key, clock: Callable[[], float], replicas: Callable[[], int]) -> None:
        self.key = key
        self.running = 0
        self._clock = clock
        self._replicas = replicas
        self._requests = Bucket(clock())
        self._images = Bucket(clock())

    def enter(self) -> None:
        """Count a request that begins. Raises RequestError with `rate_limited`; it then does not count."""
        limit = self.key.concurrent_requests
        if limit is not None and self.running >= math.ceil(limit / self._replicas()):
            raise RequestError(
                ErrorCode.RATE_LIMITED,
                f"the key {self.key.name} has {self.running} requests under way here; its limit is {limit} "
                f"at once{self._divided()}; wait for one to end",
                retry_after=RETRY_CONCURRENT_SECONDS,
            )
        if self.key.requests_per_minute is not None:
            self._spend(self._requests, 1, self.key.requests_per_minute, "requests")
        self.running += 1

    def leave(self) -> None:
        """Count a request that has ended, however it did."""
        self.running -= 1

    def charge(self, images: int) -> None:
        """Count the images of a request.

        Raises RequestError with `rate_limited`, or with `invalid_request` for more than a whole limit.
        """
        limit = self.key.images_per_minute
        if limit is None or not images:
            return
        if images > limit:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"the request has {images} images; the limit of the key {self.key.name} is {limit} a minute; "
                "send fewer at once",
            )
        self._spend(self._images, images, limit, "images")

    @property
    def requests(self) -> Standing | None:
        """How the key stands with its requests a minute."""
        return self._standing(self._requests, self.key.requests_per_minute)

    @property
    def images(self) -> Standing | None:
        """How the key stands with its images a minute."""
        return self._standing(self._images, self.key.images_per_minute)

    def _spend(self, bucket: Bucket, count: int, limit: int, what: str) -> None:
        seconds = bucket.wait(count, limit / self._replicas(), self._clock())
        if seconds > 0:
            raise RequestError(
                ErrorCode.RATE_LIMITED,
                f"the key {self.key.name} has used up its {what}; its limit is {limit} a minute"
                f"{self._divided()}; try again in {math.ceil(seconds)} s",
                retry_after=seconds,
            )
        bucket.spend(count)

    def _divided(self) -> str:
        replicas = self._replicas()
        return f", divided among {replicas} replicas" if replicas > 1 else ""

    def _standing(self, bucket: Bucket, limit: int | None) -> Standing | None:
        if limit is None:
            return None
        replicas, now = self._replicas(), self._clock()
        share = limit / replicas
        # What the other replicas have left is guessed from this one, as they get the same load; 0 is certain.
        remaining = min(limit, math.floor(bucket.left(share, now) + 1e-9) * replicas)
        return Standing(limit, remaining, bucket.reset(share, now))


class Accounts:
    """The accounts of all keys that were used, by name, so that what was used outlives a new keys file."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, replicas: Callable[[], int] = lambda: 1
    ) -> None:
        self._clock = clock
        self._replicas = replicas
        self._accounts: dict[str, Account] = {}

    def of(self, key: Key) -> Account:
        """The account of a key, with the limits that its entry has now."""
        account = self._accounts.get(key.name)
        if account is None:
            account = self._accounts[key.name] = Account(key, self._clock, self._replicas)
        account.key = key
        return account
