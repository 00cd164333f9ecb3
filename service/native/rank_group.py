"""The ranks of a replica: started together, watched, and ended together."""

import dataclasses
import logging
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from service.engine.ranks.channel import readable
from service.engine.ranks.messages import (
    Beat,
    Failed,
    FromRank,
    LogLine,
    Progress,
    Ready,
    Setup,
    Stopped,
    ToRank,
)
from service.engine_options import computes_on_cpu
from service.errors import EngineStopped, StartupError
from service.native.rank_process import RankProcess
from service.prompt.outline import Outline

logger = logging.getLogger("capstan.engine")

HOST = "127.0.0.1"
END_SECONDS = 5.0
WATCH_SECONDS = 0.2
# For the largest checkpoints from the slowest of network disks.
START_SECONDS = 3600.0
# A rank sends a sign of life every half second; one that hangs is found within 10 s. Less would replace
# replicas on a node that is short of processor time for a moment.
SILENCE_SECONDS = 6.0


class Ranks(Protocol):
    """Where a model is computed, as the engine sees it."""

    def wait_for_outline(self) -> Outline:
        """Wait until the checkpoint's small files are read. Raises StartupError if they cannot be used."""
        ...

    def wait_until_ready(self) -> Ready:
        """Wait until the model can be used. Raises StartupError if it cannot."""
        ...

    def send(self, message: ToRank, descriptor: int | None = None) -> None:
        """Send to rank 0, from any thread. Does nothing once it has ended: `receive` reports that."""
        ...

    def receive(self, seconds: float) -> Progress | Beat | None:
        """What rank 0 has sent, if anything in time. Raises EngineStopped once a rank is lost or silent."""
        ...

    def close(self) -> None:
        """End everything; returns when nothing is left. May be called twice, from any thread."""
        ...


class RankGroup:
    """See `Ranks`. One process for each GPU. If one is lost, none is of use."""

    def __init__(self, setup: Setup, *, start_seconds: float = START_SECONDS) -> None:
        """Start `setup.size` ranks, which load the model while this process goes on."""
        self.size = setup.size
        self.start_seconds = start_seconds
        self.held_bytes: dict[int, int] = {}
        self._silence = 0.0
        self._outline: Outline | None = None
        self._ready: dict[int, Ready] = {}
        # Where ranks find each other: at a free port of this machine alone, which rank 0 serves.
        listener = socket.create_server((HOST, 0)) if setup.size > 1 else None
        port = listener.getsockname()[1] if listener else 0
        pairs = [socket.socketpair() for _ in range(1, setup.size)]
        peers = [[here for here, _ in pairs], *([there] for _, there in pairs)]
        cpu = computes_on_cpu(setup.device, setup.gpus)
        self.processes = [
            RankProcess(rank, cpu=cpu, peers=peers[rank], listener=None if rank else listener)
            for rank in range(setup.size)
        ]
        # Also at the interpreter's exit, and if no one calls `close`.
        self._ender = weakref.finalize(self, _end, self.processes)
        for process in self.processes:
            self._send(process, dataclasses.replace(setup, port=port, rank=process.rank))

    def wait_for_outline(self) -> Outline:
        """Wait until rank 0 has read the checkpoint's small files.

        Raises the StartupError of a rank that refuses, or one that says which rank was lost or too slow.
        """
        self._load(lambda: self._outline is not None)
        if self._outline is None:
            raise StartupError("rank 0 is ready, but has sent no outline of its model")
        return self._outline

    def wait_until_ready(self) -> Ready:
        """Wait until all ranks have their part of the model; see `wait_for_outline`."""
        self._load(lambda: len(self._ready) == self.size)
        self.held_bytes = {rank: ready.held_bytes for rank, ready in self._ready.items()}
        return self._ready[0]

    def _load(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not done():
            if time.monotonic() > deadline:
                late = sorted(set(range(self.size)) - set(self._ready))
                raise StartupError(
                    f"ranks {late} of {self.size} have not loaded in {self.start_seconds:.0f} s"
                )
            try:
                messages = self._receive(WATCH_SECONDS)
            except EngineStopped as error:
                raise StartupError(f"{error} while it loaded; the log says why") from error
            for rank, message in messages:
                if isinstance(message, Failed):
                    raise message.refusal or StartupError(
                        f"rank {rank} of {self.size} failed: {message.reason}"
                    )
                if isinstance(message, Outline):
                    self._outline = message
                elif isinstance(message, Ready):
                    self._ready[rank] = message

    def send(self, message: ToRank, descriptor: int | None = None) -> None:
        """Send to rank 0."""
        self._send(self.processes[0], message, descriptor)

    def receive(self, seconds: float) -> Progress | Beat | None:
        """What rank 0 has sent. Raises EngineStopped if a rank ended, says it will, or is silent."""
        found, began = None, time.monotonic()
        messages = self._receive(seconds)
        # Where all of the machine stands still, this process has not waited for long.
        waited = min(time.monotonic() - began, 2 * seconds)
        self._silence = 0.0 if messages else self._silence + waited
        for rank, message in messages:
            if isinstance(message, Stopped):
                raise EngineStopped(message.reason)
            if not isinstance(message, Progress | Beat):
                raise EngineStopped(f"rank {rank} of {self.size} sent {type(message).__name__}")
            found = message
        if self._silence > SILENCE_SECONDS:
            raise EngineStopped(
                f"the engine's process was silent for {self._silence:.0f} s; "
                f"the limit is {SILENCE_SECONDS:.0f}"
            )
        return found

    def close(self) -> None:
        """End all ranks."""
        self._ender()

    def _send(self, process: RankProcess, message: ToRank, descriptor: int | None = None) -> None:
        try:
            process.channel.send(message, descriptor)
        except OSError:
            logger.debug("rank %d takes no more messages", process.rank)

    def _receive(self, seconds: float) -> list[tuple[int, FromRank]]:
        """One message of each rank that has sent any; log lines go to the log."""
        ranks = {id(process.channel): process for process in self.processes}
        found = list[tuple[int, FromRank]]()
        for channel in readable([process.channel for process in self.processes], seconds):
            process = ranks[id(channel)]
            try:
                message, _ = channel.receive(0)
            except (EOFError, TimeoutError):
                raise EngineStopped(self._loss(process)) from None
            if isinstance(message, LogLine):
                _log(message.record, f"rank {process.rank}: " if self.size > 1 else "")
            else:
                found.append((process.rank, message))
        return found

    def _loss(self, process: RankProcess) -> str:
        """How a rank whose channel is closed has ended, once it has."""
        deadline = time.monotonic() + 1.0
        while (ending := process.ending()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        name = f"rank {process.rank} of {self.size}" if self.size > 1 else "the engine's process"
        return f"{name} {ending or 'has closed its channel'}"


def _log(record: logging.LogRecord, prefix: str) -> None:
    record.msg = prefix + str(record.msg)
    log = logging.getLogger(record.name)
    if log.isEnabledFor(record.levelno):
        log.handle(record)


def _end(processes: Sequence[RankProcess]) -> None:
    for process in processes:
        process.end()
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        process.reap(max(0.0, deadline - time.monotonic()))
