"""Who waits for which run: requests come on any thread, may share a run, and go one by one."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from threading import Lock

from service.engine.generation import Generation
from service.engine.run import Run
from service.errors import ErrorCode, RequestError


@dataclass
class Counters:
    """Requests by how they ended, and those that were answered by another's run."""

    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    shared: int = 0


class Flights:
    """All requests in flight, at most `limit` of them. Used by several threads.

    A run without anybody who waits for it is cancelled.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counters = Counters()
        self._lock = Lock()
        self._owner: dict[Generation, Run] = {}
        self._shared: dict[Hashable, Run] = {}
        self._next_deadline = inf

    def __len__(self) -> int:
        return len(self._owner)

    def open(self, run: Run, listener: Generation) -> None:
        """Take a request with a run of its own. Raises RequestError with `overloaded` at the limit."""
        with self._lock:
            if len(self._owner) >= self.limit:
                self.counters.refused += 1
                raise RequestError(
                    ErrorCode.OVERLOADED,
                    f"{len(self._owner)} requests are in flight; the limit is {self.limit} "
                    "(CAPSTAN_MAX_WAITING and CAPSTAN_MAX_CONCURRENT_SEQUENCES); try again later",
                )
            run.listeners.append(listener)
            self._owner[listener] = run
            if listener.deadline is not None:
                self._next_deadline = min(self._next_deadline, listener.deadline)

    def share(self, run: Run) -> bool:
        """Let those who wait for a run wait for one with the same key instead, if there is one."""
        with self._lock:
            if run.key is None or run.done:
                return False
            other = self._shared.setdefault(run.key, run)
            if other is run:
                return False
            for listener in run.listeners:
                other.listeners.append(listener)
                self._owner[listener] = other
                self.counters.shared += 1
            run.listeners = []
            return True

    def leave(self, listener: Generation) -> None:
        """Let go of a request that its client has given up."""
        with self._lock:
            if self._drop(listener):
                self.counters.cancelled += 1

    def overdue(self, now: float) -> list[tuple[Generation, RequestError]]:
        """Let go of the requests whose deadline has passed; each with what it is to be told."""
        if now <= self._next_deadline:
            return []
        with self._lock:
            late = [one for one in self._owner if one.deadline is not None and one.deadline < now]
            told = [(one, _too_late(self._owner[one])) for one in late]
            for listener in late:
                self._drop(listener)
            self.counters.failed += len(late)
            left = (one.deadline for one in self._owner if one.deadline is not None)
            self._next_deadline = min(left, default=inf)
            return told

    def end(self, run: Run) -> list[Generation]:
        """Close a run that is done; returns who waited for it."""
        with self._lock:
            listeners, run.listeners = run.listeners, []
            for listener in listeners:
                del self._owner[listener]
            self._unshare(run)
            if run.error is not None:
                self.counters.failed += len(listeners)
            else:
                self.counters.finished += len(listeners)
            return listeners

    def give_up(self) -> list[Generation]:
        """Let go of all requests; returns them."""
        with self._lock:
            listeners = list(self._owner)
            for listener in listeners:
                self._drop(listener)
            self.counters.failed += len(listeners)
            return listeners

    def _drop(self, listener: Generation) -> bool:
        run = self._owner.pop(listener, None)
        if run is None:
            return False
        run.listeners.remove(listener)
        if not run.listeners:
            run.cancelled = True
            self._unshare(run)
        return True

    def _unshare(self, run: Run) -> None:
        if run.key is not None and self._shared.get(run.key) is run:
            del self._shared[run.key]


def _too_late(run: Run) -> RequestError:
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the answer was not complete in time ({len(run.answer)} tokens were written); "
        "lower max_tokens, or raise CAPSTAN_REQUEST_TIMEOUT",
    )
