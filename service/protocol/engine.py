"""What the API asks of an engine: the native one, or another server behind the same front.

Imports no torch, which a replica in front of another server does without.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from service.protocol.request import Completion, Request, SpelledLogprobs, Usage
from service.protocol.stats import EngineDescription, EngineStats


class Handle(Protocol):
    """A request that an engine has taken. Belongs to the event loop that submitted it."""

    completion: Completion | None
    broken_off: Usage | None
    """What was spent on a request that ended before its answer did."""

    async def result(self) -> Completion:
        """The whole text. A caller that is cancelled cancels the request. Raises RequestError."""
        ...

    def stream(self) -> AsyncIterator[str]:
        """The text piece by piece, as it comes; afterwards `completion` is set. Raises as `result` does."""
        ...

    def take_logprobs(self) -> list[SpelledLogprobs]:
        """Those of a stream that have come since the last call."""
        ...

    def cancel(self) -> None:
        """Give the request up; does nothing once it has ended."""
        ...


class ServingEngine(Protocol):
    """One model, which answers the requests of one replica."""

    def start(self) -> None:
        """Get ready; returns when requests can come. Raises StartupError."""
        ...

    def close(self, timeout: float) -> None:
        """Stop, waiting `timeout` seconds at most; unfinished requests are given up.

        Not to be called on the event loop of the requests.
        """
        ...

    def submit(self, request: Request) -> Handle:
        """Take a request; to be called on the event loop that awaits its result.

        Raises RequestError with `overloaded` when too many wait, with `not_ready` once the engine has ended.
        """
        ...

    def submit_all(self, requests: Sequence[Request]) -> Sequence[Handle]:
        """Take all or none of several requests of one client that differ in their sampling alone.

        Raises RequestError as `submit` does.
        """
        ...

    def check_admission(self, client: str) -> None:
        """Raise RequestError with `overloaded` where `submit` would for a request of this client now."""
        ...

    def check(self) -> None:
        """Raise EngineStopped where the engine answers no more. Returns at once."""
        ...

    def describe(self) -> EngineDescription:
        """What the engine is; to be called once it has started."""
        ...

    def stats(self) -> EngineStats:
        """Counters and gauges."""
        ...
