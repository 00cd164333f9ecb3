"""The ranks of a replica: started together, watched, and ended together."""

import dataclasses
import logging
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from service.engine.parallel.messages import Failed, FromRank, Ready, Setup, ToRank
from service.engine.parallel.process import RankProcess
from service.errors import EngineStopped, StartupError

logger = logging.getLogger("capstan.engine")

HOST = "127.0.0.1"
WATCH_SECONDS = 0.2
END_SECONDS = 5.0


class RankGroup:
    """One process a GPU. When one of them is lost, none is of use: all are ended, and `failure` says why."""

    def __init__(self, setup: Setup, *, start_seconds: float) -> None:
        """Start `setup.size` ranks; returns when all have their part of the model.

        Raises the StartupError of a rank that refuses, or one that says which rank was lost or too slow.
        """
        self.size = setup.size
        self.failure: str | None = None
        self.held_bytes: dict[int, int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._store = _store(setup.size)
        self.processes = [RankProcess(rank, setup.device) for rank in range(setup.size)]
        # Also at the interpreter's exit, and where nobody calls `close`.
        self._ender = weakref.finalize(self, _end, self.processes)
        try:
            self._set_up(dataclasses.replace(setup, port=self._store.port), start_seconds)
        except BaseException:
            self.close()
            raise
        self._watch = threading.Thread(target=_watch, args=(weakref.ref(self), self._closing), daemon=True)
        self._watch.start()

    def send(self, rank: int, message: ToRank) -> None:
        """Send to a rank; where it is gone, the group fails."""
        try:
            self.processes[rank].channel.send(message)
        except OSError:
            self.fail(f"rank {rank} of {self.size} takes no more messages")

    def receive(self, seconds: float) -> Iterator[tuple[int, FromRank]]:
        """What has come from any rank, waiting for the first message up to `seconds`."""
        ranks = {process.channel.connection: process for process in self.processes}
        for ready in wait(list(ranks), seconds):
            process = next(process for connection, process in ranks.items() if connection is ready)
            try:
                yield process.rank, process.channel.receive(0)
            except (EOFError, OSError):
                self.fail(f"rank {process.rank} of {self.size} has ended")
                return

    def check(self) -> None:
        """Raise EngineStopped where a rank is lost."""
        if self.failure is not None:
            raise EngineStopped(self.failure)

    def fail(self, reason: str) -> None:
        """Give the group up: remember the first reason, and end what is left."""
        with self._lock:
            if self.failure is not None or self._closing.is_set():
                return
            self.failure = reason
        logger.error("%s; the replica must be replaced", reason)
        for process in self.processes:
            process.end()

    def close(self) -> None:
        """End all ranks; returns when none is left. May be called twice."""
        self._closing.set()
        self._ender()

    def _set_up(self, setup: Setup, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self.processes:
            self.send(process.rank, dataclasses.replace(setup, rank=process.rank))
        while len(self.held_bytes) < self.size:
            for rank, message in self.receive(WATCH_SECONDS):
                if isinstance(message, Failed):
                    raise message.refusal or StartupError(
                        f"rank {rank} of {self.size} failed: {message.reason}"
                    )
                if isinstance(message, Ready):
                    self.held_bytes[rank] = message.held_bytes
            self.look()
            if self.failure is not None:
                raise StartupError(f"{self.failure} while it loaded; the log says why")
            if time.monotonic() > deadline:
                late = sorted(set(range(self.size)) - set(self.held_bytes))
                raise StartupError(f"ranks {late} of {self.size} have not loaded in {seconds:.0f} s")

    def look(self) -> None:
        """Fail where a rank has ended."""
        for process in self.processes:
            status = process.exit_status
            if status is not None:
                how = f"was ended by signal {-status}" if status < 0 else f"has ended with status {status}"
                self.fail(f"rank {process.rank} of {self.size} {how}")


def _store(size: int) -> TCPStore:
    """Where ranks find each other: served by the replica itself, at a free port of this machine alone."""
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    return TCPStore(
        HOST, port, size, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


def _watch(group: "weakref.ref[RankGroup]", closing: threading.Event) -> None:
    """Look after a group until it closes or is forgotten."""
    while not closing.wait(WATCH_SECONDS):
        watched = group()
        if watched is None:
            return
        watched.look()
        del watched


def _end(processes: Sequence[RankProcess]) -> None:
    for process in processes:
        process.end()
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        process.reap(max(0.0, deadline - time.monotonic()))
        process.channel.close()
