"""What the engine's thread drives: something that takes runs and advances them step by step."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from service.engine.sequence import Sequence
from service.errors import ErrorCode, RequestError

Between = Callable[[], None]


class Worker(Protocol):
    """Owned by one thread, which alone calls it."""

    name: str
    longest: int
    slots: int
    cache_bytes: int
    prefilled: int
    decoded: int

    def add(self, run: Sequence) -> None:
        """Take a prepared run."""
        ...

    def step(self, between: Between) -> bool:
        """Advance the runs; say whether there was anything to do.

        A step of more than one token for a run calls `between` after each: it hands out what is new, lets go
        of runs that are done and may cancel others.
        """
        ...

    def running(self) -> Iterable[Sequence]:
        """The runs that are being worked on."""
        ...

    def page_stats(self) -> dict[str, int]:
        """What `EngineStats` says of pages; nothing of a worker without any."""
        ...

    def retire(self) -> list[Sequence]:
        """Let go of the runs that are done, waiting or not, and return them."""
        ...

    @property
    def waiting(self) -> int:
        """Runs that no step has worked on yet."""
        ...

    @property
    def active(self) -> int:
        """Runs that are being worked on."""
        ...


@runtime_checkable
class Supervised(Protocol):
    """A worker that has processes of its own, which may be lost and must be ended."""

    def check(self) -> None:
        """Raise EngineStopped where it can work no more. Safe to call from any thread."""
        ...

    def close(self) -> None:
        """End its processes; returns when none is left. Safe to call from any thread, and twice."""
        ...


def fault() -> RequestError:
    """What a client is told of an error of the server."""
    return RequestError(ErrorCode.INTERNAL_ERROR, "the server failed on this request; its log says why")
