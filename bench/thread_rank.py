"""Rank 0 in a thread of this process: for benchmarks and tests of a model that is in memory already."""

import contextlib
import threading
from typing import TypeVar

from service.checkpoint.loaded import LoadedModel
from service.engine.ranks.channel import Channel
from service.engine.ranks.messages import Beat, Failed, FromRank, Progress, Ready, Stopped, ToRank
from service.engine.ranks.program import prepare
from service.engine_options import EngineOptions
from service.errors import EngineStopped, StartupError
from service.prompt.outline import Outline

M = TypeVar("M", Outline, Ready)

START_SECONDS = 600.0
END_SECONDS = 10.0


class ThreadRank:
    """See `Ranks`. The loop and the channel are those of a process."""

    def __init__(self, loaded: LoadedModel, options: EngineOptions) -> None:
        self._channel, other = Channel[FromRank, ToRank].pair()
        self._thread = threading.Thread(target=self._run, args=(loaded, options, Channel(other)), daemon=True)
        self._thread.start()

    def _run(self, loaded: LoadedModel, options: EngineOptions, channel: Channel[ToRank, FromRank]) -> None:
        with (
            contextlib.closing(channel),
            contextlib.suppress(EngineStopped, OSError),
        ):  # OSError: closed meanwhile
            channel.send(loaded.outline())
            try:
                loop = prepare(loaded, options, channel)
            except StartupError as error:
                channel.send(Failed(str(error), error))
            else:
                loop.run()

    def wait_for_outline(self) -> Outline:
        """The outline of the model."""
        return self._loading(Outline)

    def wait_until_ready(self) -> Ready:
        """Wait until the model can be used. Raises StartupError if it cannot."""
        return self._loading(Ready)

    def _loading(self, kind: type[M]) -> M:
        message, _ = self._channel.receive(START_SECONDS)
        if isinstance(message, Failed) and message.refusal:
            raise message.refusal
        if not isinstance(message, kind):
            raise TypeError(f"{type(message).__name__} came where {kind.__name__} was due")
        return message

    def send(self, message: ToRank, descriptor: int | None = None) -> None:
        """Send to the thread."""
        with contextlib.suppress(OSError):
            self._channel.send(message, descriptor)

    def receive(self, seconds: float) -> Progress | Beat | None:
        """What the thread has sent. Raises EngineStopped once its loop has ended."""
        try:
            message, _ = self._channel.receive(seconds)
        except TimeoutError:
            return None
        except EOFError:
            raise EngineStopped("the rank has closed its channel") from None
        if isinstance(message, Stopped):
            raise EngineStopped(message.reason)
        if not isinstance(message, Progress | Beat):
            raise TypeError(f"{type(message).__name__} came from a rank that runs")
        return message

    def close(self) -> None:
        """End the thread."""
        self._channel.close()
        self._thread.join(END_SECONDS)
