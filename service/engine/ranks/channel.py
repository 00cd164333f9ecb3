"""Messages between two processes of a replica, over a pair of sockets that only they share."""

import contextlib
import pickle
import select
import socket
import struct
from threading import Lock
from typing import Generic, Self, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

HEADER = struct.Struct("!Q")  # bytes of the message that follows


class Channel(Generic[In, Out]):
    """One end. Several threads may send, one receives.

    Both ends are processes of one replica, so pickles are safe here.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = Lock()

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """An end for this process, and the socket of the other, for a new process to inherit."""
        here, there = socket.socketpair()
        return cls(here), there

    def fileno(self) -> int:
        """The descriptor to wait for, or -1 once this end is closed."""
        return self._socket.fileno()

    def send(self, message: Out, descriptor: int | None = None) -> None:
        """Send a message, with an open file if given. Raises OSError if the other end is closed."""
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        header, files = HEADER.pack(len(content)), [] if descriptor is None else [descriptor]
        with self._lock:
            if files:
                socket.send_fds(self._socket, [header], files)
                self._socket.sendall(content)
            else:
                self._socket.sendall(header + content)

    def receive(self, seconds: float) -> tuple[In, int | None]:
        """The next message, and the file that came with it.

        Raises TimeoutError if none comes in time, EOFError if the other end is closed.
        """
        if not readable([self], seconds):
            raise TimeoutError(f"no message came within {seconds:g} s")
        try:
            header, files, _, _ = socket.recv_fds(self._socket, HEADER.size, 1)
            header += self._read(HEADER.size - len(header)) if header else b""
            if not header:
                raise EOFError("the other end is closed")
            (size,) = HEADER.unpack(header)
            message: In = pickle.loads(self._read(size))  # noqa: S301 - see the class
        except OSError as error:
            raise EOFError(f"the other end is closed: {error}") from error
        return message, files[0] if files else None

    def close(self) -> None:
        """Close this end; a thread that waits for messages at either end sees it."""
        with contextlib.suppress(OSError):  # the other end is closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError("the other end closed within a message")
            view = view[count:]
        return content


def readable(channels: list[Channel[In, Out]], seconds: float) -> list[Channel[In, Out]]:
    """The channels that have a message or are closed, waiting for the first up to `seconds`."""
    poll, by_descriptor = select.poll(), {}
    for channel in channels:
        descriptor = channel.fileno()
        if descriptor < 0:
            return [channel]
        poll.register(descriptor, select.POLLIN)
        by_descriptor[descriptor] = channel
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(seconds * 1000)]
