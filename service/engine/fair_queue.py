"""A queue that serves its clients in turn."""

from collections import deque
from collections.abc import Callable

from service.engine.answer import Answer


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
