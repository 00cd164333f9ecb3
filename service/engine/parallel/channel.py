"""Messages between the replica and one of its ranks, over a pair of sockets that only they share."""

import pickle
import socket
from multiprocessing.connection import Connection
from typing import Generic, Self, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Channel(Generic[In, Out]):
    """One end. Both ends are processes of one replica, which is why pickles are safe here."""

    def __init__(self, descriptor: int) -> None:
        self.connection = Connection(descriptor)

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """An end for this process, and the socket of the other, for a new process to inherit."""
        here, there = socket.socketpair()
        return cls(here.detach()), there

    def send(self, message: Out) -> None:
        """Send a message. Raises OSError where the other end is gone."""
        # Not Connection.send, which torch has share tensors through files: the processes are strangers.
        self.connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def receive(self, seconds: float) -> In:
        """The next message. Raises TimeoutError when none comes, EOFError where the other end is gone."""
        if not self.connection.poll(seconds):
            raise TimeoutError(f"no message came within {seconds:g} s")
        message: In = pickle.loads(self.connection.recv_bytes())  # noqa: S301 - see the class
        return message

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
