"""Which request still gets a place in a replica."""

from dataclasses import dataclass

from service.errors import ErrorCode, Refusal, RequestError

# A client may hold this many times the places that are free. One alone gets to three quarters of them, ten to
# 3/31 each; for a client that comes later there is always one.
GREED = 3


@dataclass(frozen=True, slots=True)
class Places:
    """A replica takes `limit` requests, of which `slots` generate at a time; `taken` are in progress."""

    limit: int
    slots: int
    taken: int

    def check(self, client: str, *, held: int) -> None:
        """Raise RequestError with `overloaded` where no place is left for a client that holds `held` of them.

        A named client gets no more than its share once some have to wait.
        """
        if self.taken >= self.limit:
            raise RequestError(
                ErrorCode.OVERLOADED,
                f"{self.taken} requests are in flight; the limit is {self.limit} "
                "(CAPSTAN_MAX_WAITING and CAPSTAN_MAX_CONCURRENT_SEQUENCES); try again later",
                refusal=Refusal.QUEUE,
            )
        free = self.limit - self.taken
        if client and self.taken >= self.slots and held >= GREED * free:
            raise RequestError(
                ErrorCode.OVERLOADED,
                f"{held} requests of {client} are in flight; its share of the queue is {GREED * free} while "
                f"{free} places are free; try again later",
                refusal=Refusal.QUEUE_SHARE,
            )
