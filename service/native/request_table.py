"""Which request waits for which answer: requests come on any thread, may share one, and leave one by one."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import inf
from threading import Lock

from service.errors import ErrorCode, RequestError
from service.native.answer import Answer
from service.native.request_handle import RequestHandle
from service.protocol.admission import Places


@dataclass
class Counters:
    """Requests by how they ended, and those that were answered by another's answer."""

    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    shared: int = 0


class RequestTable:
    """All requests in flight, at most `limit` of them, of which `slots` run. Used by several threads.

    `retry_after` is when those that are refused may try again, in seconds. An answer that no request
    waits for is cancelled.
    """

    def __init__(self, limit: int, *, slots: int = 0) -> None:
        self.limit = limit
        self.slots = slots
        self.retry_after: float | None = None
        self.counters = Counters()
        self._lock = Lock()
        self._owner: dict[RequestHandle, Answer] = {}
        self._clients: dict[RequestHandle, str] = {}
        self._held: Counter[str] = Counter()
        self._shared: dict[Hashable, Answer] = {}
        self._next_deadline = inf
        self._refusal: RequestError | None = None

    def __len__(self) -> int:
        return len(self._owner)

    def open(self, requests: Sequence[tuple[Answer, RequestHandle]]) -> None:
        """Take all requests of one client, each with the answer that it waits for, or none.

        Raises RequestError with `overloaded` at the limit, or if the client holds too many of the places, and
        the error of `close` after that.
        """
        client = requests[0][0].request.client
        with self._lock:
            self._check_admission(client, len(requests))
            for answer, handle in requests:
                self.counters.shared += bool(answer.handles)
                answer.handles.append(handle)
                self._owner[handle] = answer
                self._clients[handle] = client
                self._held[client] += 1
                if handle.deadline is not None:
                    self._next_deadline = min(self._next_deadline, handle.deadline)

    def check_admission(self, client: str) -> None:
        """Raise RequestError where `open` would, before a body is read."""
        with self._lock:
            self._check_admission(client)

    def waiting(self) -> list[Answer]:
        """The answers that rank 0 has not begun."""
        with self._lock:
            answers = set(self._owner.values())
        return [answer for answer in answers if not answer.begun]

    def share(self, answer: Answer) -> bool:
        """Let the requests of an answer wait for another with the same key instead, if there is one."""
        with self._lock:
            if answer.key is None or answer.done:
                return False
            other = self._shared.setdefault(answer.key, answer)
            if other is answer:
                return False
            for handle in answer.handles:
                other.handles.append(handle)
                self._owner[handle] = other
                self.counters.shared += 1
            answer.handles = []
            return True

    def leave(self, handle: RequestHandle) -> Answer | None:
        """Drop a request that its client has given up; returns its answer, which may be cancelled now."""
        with self._lock:
            answer = self._drop(handle)
            if answer is not None:
                self.counters.cancelled += 1
            return answer

    def overdue(self, now: float) -> list[tuple[RequestHandle, Answer, RequestError]]:
        """Drop the requests whose deadline has passed; each with its answer and error."""
        if now <= self._next_deadline:
            return []
        with self._lock:
            late = [one for one in self._owner if one.deadline is not None and one.deadline < now]
            found = [(one, self._owner[one], _too_late(self._owner[one])) for one in late]
            for handle in late:
                self._drop(handle)
            self.counters.failed += len(late)
            left = (one.deadline for one in self._owner if one.deadline is not None)
            self._next_deadline = min(left, default=inf)
            return found

    def end(self, answer: Answer) -> list[RequestHandle]:
        """Drop an answer that is done; returns the requests that waited for it."""
        with self._lock:
            handles, answer.handles = answer.handles, []
            for handle in handles:
                self._forget(handle)
            self._unshare(answer)
            if answer.error is not None:
                self.counters.failed += len(handles)
            else:
                self.counters.finished += len(handles)
            return handles

    def close(self, refusal: RequestError) -> list[RequestHandle]:
        """Drop all requests and refuse later ones; returns those that were in progress."""
        with self._lock:
            self._refusal = refusal
            handles = list(self._owner)
            for handle in handles:
                self._drop(handle)
            self.counters.failed += len(handles)
            return handles

    def _drop(self, handle: RequestHandle) -> Answer | None:
        if handle not in self._owner:
            return None
        answer = self._forget(handle)
        answer.handles.remove(handle)
        if not answer.handles:
            answer.cancelled = True
            self._unshare(answer)
        return answer

    def _forget(self, handle: RequestHandle) -> Answer:
        client = self._clients.pop(handle)
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        return self._owner.pop(handle)

    def _check_admission(self, client: str, wanted: int = 1) -> None:
        if self._refusal is not None:
            raise RequestError(self._refusal.code, self._refusal.message)
        places = Places(self.limit, self.slots, len(self._owner), self.retry_after)
        try:
            places.check(client, held=self._held[client], wanted=wanted)
        except RequestError:
            self.counters.refused += wanted
            raise

    def _unshare(self, answer: Answer) -> None:
        if answer.key is not None and self._shared.get(answer.key) is answer:
            del self._shared[answer.key]


def _too_late(answer: Answer) -> RequestError:
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the answer was not complete in time ({len(answer.tokens)} tokens were written); "
        "lower max_tokens, or raise CAPSTAN_REQUEST_TIMEOUT",
    )
