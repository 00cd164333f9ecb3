"""Who waits for which run: requests come on any thread, may share a run, and go one by one."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from threading import Lock

from service.engine.admission import Places
from service.engine.request_handle import RequestHandle
from service.engine.sequence import Sequence
from service.errors import ErrorCode, RequestError


@dataclass
class Counters:
    """Requests by how they ended, and those that were answered by another's run."""

    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    shared: int = 0


class RequestTable:
    """All requests in flight, at most `limit` of them, of which `slots` run. Used by several threads.

    `retry_after` is when those that are refused may try again, in seconds.

    A run without anybody who waits for it is cancelled.
    """

    def __init__(self, limit: int, *, slots: int = 0) -> None:
        self.limit = limit
        self.slots = slots
        self.retry_after: float | None = None
        self.counters = Counters()
        self._lock = Lock()
        self._owner: dict[RequestHandle, Sequence] = {}
        self._clients: dict[RequestHandle, str] = {}
        self._held: Counter[str] = Counter()
        self._shared: dict[Hashable, Sequence] = {}
        self._next_deadline = inf

    def __len__(self) -> int:
        return len(self._owner)

    def open(self, run: Sequence, listener: RequestHandle) -> None:
        """Take a request with a run of its own.

        Raises RequestError with `overloaded` at the limit, or where its client holds too many of the places.
        """
        client = run.request.client
        with self._lock:
            self._check_admission(client)
            run.listeners.append(listener)
            self._owner[listener] = run
            self._clients[listener] = client
            self._held[client] += 1
            if listener.deadline is not None:
                self._next_deadline = min(self._next_deadline, listener.deadline)

    def check_admission(self, client: str) -> None:
        """Raise RequestError where `open` would, for who would rather know before a body is read."""
        with self._lock:
            self._check_admission(client)

    def waiting(self) -> list[Sequence]:
        """The runs that no step has worked on."""
        with self._lock:
            runs = set(self._owner.values())
        return [run for run in runs if not run.timeline.running]

    def share(self, run: Sequence) -> bool:
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

    def leave(self, listener: RequestHandle) -> None:
        """Let go of a request that its client has given up."""
        with self._lock:
            if self._drop(listener):
                self.counters.cancelled += 1

    def overdue(self, now: float) -> list[tuple[RequestHandle, RequestError]]:
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

    def end(self, run: Sequence) -> list[RequestHandle]:
        """Close a run that is done; returns who waited for it."""
        with self._lock:
            listeners, run.listeners = run.listeners, []
            for listener in listeners:
                self._forget(listener)
            self._unshare(run)
            if run.error is not None:
                self.counters.failed += len(listeners)
            else:
                self.counters.finished += len(listeners)
            return listeners

    def give_up(self) -> list[RequestHandle]:
        """Let go of all requests; returns them."""
        with self._lock:
            listeners = list(self._owner)
            for listener in listeners:
                self._drop(listener)
            self.counters.failed += len(listeners)
            return listeners

    def _drop(self, listener: RequestHandle) -> bool:
        if listener not in self._owner:
            return False
        run = self._forget(listener)
        run.listeners.remove(listener)
        if not run.listeners:
            run.cancelled = True
            self._unshare(run)
        return True

    def _forget(self, listener: RequestHandle) -> Sequence:
        client = self._clients.pop(listener)
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        return self._owner.pop(listener)

    def _check_admission(self, client: str) -> None:
        places = Places(self.limit, self.slots, len(self._owner), self.retry_after)
        try:
            places.check(client, held=self._held[client])
        except RequestError:
            self.counters.refused += 1
            raise

    def _unshare(self, run: Sequence) -> None:
        if run.key is not None and self._shared.get(run.key) is run:
            del self._shared[run.key]


def _too_late(run: Sequence) -> RequestError:
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the answer was not complete in time ({len(run.answer)} tokens were written); "
        "lower max_tokens, or raise CAPSTAN_REQUEST_TIMEOUT",
    )
