"""The way of a request to rank 0: through the threads that prepare it.

Prepared tiles are large (31 MB for 13 of 448 pixels), so no more requests are prepared than the model may
soon need; the others wait as the bytes that came.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import monotonic

from service.engine.ranks.messages import Add, Cancel, ToRank
from service.engine.ranks.shared_memory import SharedMemory
from service.errors import RequestError
from service.native.answer import Answer, fault
from service.native.preparation import Preparation, share_key
from service.native.request_table import RequestTable

logger = logging.getLogger("capstan.engine")

Send = Callable[[ToRank, int | None], None]


class Intake:
    """Prepares answers, those of different clients in turn, at most `ahead` that have not begun.

    `refuse` is called with an answer that cannot be prepared.
    """

    def __init__(
        self,
        preparation: Preparation,
        requests: RequestTable,
        *,
        threads: int,
        ahead: int,
        send: Send,
        refuse: Callable[[Answer], None],
    ) -> None:
        self.sent: dict[int, Answer] = {}
        self._preparation = preparation
        self._requests = requests
        self._ahead = ahead
        self._send = send
        self._refuse = refuse
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._lock = Lock()
        self._queue = FairQueue()
        self._preparing = 0
        self._pending = set[int]()  # sent, but not begun
        self._followers: dict[int, list[Answer]] = {}  # by the number of the one that they wait for

    def add(self, answers: Sequence[Answer]) -> None:
        """Queue the first answer to a prompt, and others once its images are known. Does not block."""
        with self._lock:
            if len(self._queue) > len(self._requests):  # most were cancelled while they waited
                self._queue.keep(lambda waiting: not waiting.done)
            self._lead(answers)
        self.feed()

    def begun(self, number: int) -> None:
        """Note that rank 0 works on an answer, and has seen its images."""
        self._pending.discard(number)
        if (answer := self.sent.get(number)) is not None:
            answer.begun = True
            self.settle(answer, computed=True)

    def end(self, number: int) -> Answer | None:
        """Drop an answer that has ended."""
        self._pending.discard(number)
        return self.sent.pop(number, None)

    def cancel(self, answer: Answer) -> None:
        """Drop an answer that no request waits for, here and on the ranks."""
        if self.end(answer.number) is not None:
            self._send(Cancel(answer.number), None)
        self.settle(answer, computed=False)

    def settle(self, answer: Answer, *, computed: bool) -> None:
        """Note whether the images of an answer are `computed` or will not be for this answer."""
        self._preparation.features.settle(answer.kept, computed=computed)
        self._release(answer)

    def feed(self) -> None:
        """Prepare as many of those that wait as there is need for."""
        with self._lock:
            while self._queue and self._preparing + len(self._pending) < self._ahead:
                answer = self._queue.popleft()
                if answer.done:
                    continue
                self._preparing += 1
                try:
                    self._threads.submit(self._prepare, answer)
                except RuntimeError:  # closed meanwhile, which ends all requests
                    return

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def waiting(self, running: int) -> int:
        """Answers of which no sequence is among the `running` ones."""
        followers = sum(map(len, list(self._followers.values())))
        return len(self._queue) + followers + self._preparing + max(0, len(self.sent) - running)

    def _lead(self, answers: Sequence[Answer]) -> None:
        """Queue the first of some answers to one prompt."""
        if answers:
            self._queue.append(answers[0])
        if answers[1:]:
            self._followers[answers[0].number] = list(answers[1:])

    def _release(self, answer: Answer) -> None:
        """Queue the answers that wait for this one, which has begun or never will."""
        with self._lock:
            followers = [one for one in self._followers.pop(answer.number, ()) if not one.done]
            if answer.begun:
                for one in followers:
                    self._queue.append(one)
            else:
                self._lead(followers)
        if followers:
            self.feed()

    def _prepare(self, answer: Answer) -> None:
        message: Add | None = None
        memory: SharedMemory | None = None
        shared = False
        answer.timeline.preparing = monotonic()
        try:
            answer.key = share_key(answer.request)
            shared = self._requests.share(answer)
            if not shared and not answer.done:
                message, memory = self._preparation.prepare(answer)
        except RequestError as error:
            answer.error = error
        except Exception:
            logger.exception("a request could not be prepared")
            answer.error = fault()
        answer.timeline.prepared = monotonic()
        with self._lock:
            self._preparing -= 1
            if message is not None:
                self.sent[answer.number] = answer
                self._pending.add(answer.number)
        if message is not None:
            self._hand_over(answer, message, memory)
        else:
            if answer.error is not None:
                self._refuse(answer)
            self._release(answer)
        self.feed()

    def _hand_over(self, answer: Answer, message: Add, memory: SharedMemory | None) -> None:
        try:
            self._send(message, memory.descriptor if memory else None)
        finally:
            if memory is not None:
                memory.close()
        if answer.cancelled:  # meanwhile: a cancellation that came before its sequence was lost
            self._send(Cancel(answer.number), None)
            self.cancel(answer)


class FairQueue:
    """Answers to be prepared: of each client in the order of arrival, of different clients in turn.

    So a client with one request waits for one of each other client at most, however many those have queued.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[Answer]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, answer: Answer) -> None:
        """Queue an answer behind those of its client; a client that had none comes last."""
        self._lines.setdefault(answer.request.client, deque()).append(answer)
        self._length += 1

    def popleft(self) -> Answer:
        """The answer whose turn it is. Raises IndexError if there is none."""
        if not self._lines:
            raise IndexError("the queue is empty")
        client = next(iter(self._lines))
        line = self._lines.pop(client)
        answer = line.popleft()
        if line:
            self._lines[client] = line
        self._length -= 1
        return answer

    def keep(self, wanted: Callable[[Answer], bool]) -> None:
        """Drop the answers that are not wanted any more; the others keep their turn."""
        kept = {client: deque(filter(wanted, line)) for client, line in self._lines.items()}
        self._lines = {client: line for client, line in kept.items() if line}
        self._length = sum(map(len, self._lines.values()))
