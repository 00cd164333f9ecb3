"""The places for requests that another server works on, given to clients in turn."""

import asyncio
from collections import deque
from contextlib import suppress


class FairSlots:
    """At most `count` requests hold a slot; the others wait, one of each client after another.

    Belongs to one event loop.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """The requests that wait."""
        return sum(map(len, self._lines.values()))

    async def acquire(self, client: str) -> None:
        """Wait for a slot; give it back with `release`."""
        if self.free:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self.release()
            else:
                self._leave(client, turn)
            raise

    def release(self) -> None:
        """Give a slot to the client whose turn it is."""
        while self._lines:
            client = next(iter(self._lines))
            line = self._lines.pop(client)
            turn = line.popleft()
            if line:
                self._lines[client] = line
            if not turn.cancelled():
                turn.set_result(None)
                return
        self.free += 1

    def _leave(self, client: str, turn: "asyncio.Future[None]") -> None:
        line = self._lines.get(client, deque())
        with suppress(ValueError):  # `release` has met it already
            line.remove(turn)
        if not line:
            self._lines.pop(client, None)
