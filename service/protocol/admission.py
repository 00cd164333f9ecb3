"""Which request still gets a place in a replica."""

from dataclasses import dataclass

from service.errors import ErrorCode, Refusal, RequestError

# A client may hold this many times the places that are free. One alone gets to three quarters of them, ten to
# 3/31 each; for a client that comes later there is always one.
GREED = 3


@dataclass(frozen=True, slots=True)
class Places:
    """A replica takes `limit` requests, of which `slots` generate at a time; `taken` are in progress.

    Those that are refused may try again after `retry_after` seconds, if known.
    """

    limit: int
    slots: int
    taken: int
    retry_after: float | None = None

    def check(self, client: str, *, held: int, wanted: int = 1) -> None:
        """Raise RequestError with `overloaded` where `wanted` places are not left for a client with `held`.

        A named client gets no more than its share once some have to wait.
        """
        if self.taken + wanted > self.limit:
            raise self._refusal(
                Refusal.QUEUE,
                f"{self.taken} requests are in flight; the limit is {self.limit} (CAPSTAN_MAX_QUEUE_SECONDS, "
                "CAPSTAN_MAX_WAITING and CAPSTAN_MAX_CONCURRENT_SEQUENCES); try again later",
            )
        free = self.limit - self.taken
        if client and self.taken + wanted > self.slots and held + wanted > GREED * free:
            raise self._refusal(
                Refusal.QUEUE_SHARE,
                f"{held} requests of {client} are in flight; its share of the queue is {GREED * free} while "
                f"{free} places are free; try again later",
            )

    def _refusal(self, refusal: Refusal, message: str) -> RequestError:
        return RequestError(ErrorCode.OVERLOADED, message, retry_after=self.retry_after, refusal=refusal)
