"""A queue that serves its clients in turn."""

from collections import deque
from collections.abc import Callable

from service.engine.sequence import Sequence


class FairQueue:
    """Runs in the order of their arrival for each client, one of each client after another.

    So a client with one run waits for one of each other client's at most, however many those have queued.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[Sequence]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, run: Sequence) -> None:
        """Queue a run behind those of its client; a client that had none comes last."""
        self._lines.setdefault(run.request.client, deque()).append(run)
        self._length += 1

    def popleft(self) -> Sequence:
        """The run whose turn it is. Raises IndexError where there is none."""
        if not self._lines:
            raise IndexError("the queue is empty")
        client = next(iter(self._lines))
        line = self._lines.pop(client)
        run = line.popleft()
        if line:
            self._lines[client] = line
        self._length -= 1
        return run

    def keep(self, wanted: Callable[[Sequence], bool]) -> None:
        """Forget the runs that are not wanted any more; the others keep their turn."""
        kept = {client: deque(filter(wanted, line)) for client, line in self._lines.items()}
        self._lines = {client: line for client, line in kept.items() if line}
        self._length = sum(map(len, self._lines.values()))
