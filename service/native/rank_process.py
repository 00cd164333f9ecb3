"""The process of one rank, as the replica sees it."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from service.engine.ranks.channel import Channel
from service.engine.ranks.messages import FromRank, ToRank

# The module search path travels along: Ray extends it inside the replica's process only.
PROGRAM = """
import sys
sys.path[:] = sys.argv[4:]
from service.engine.ranks import lifeline
lifeline.hold()
from service.engine.ranks.program import main
main(int(sys.argv[1]), [int(one) for one in sys.argv[2].split(",") if one], int(sys.argv[3]))
"""


class RankProcess:
    """A process with a channel to it, whose standard input is its lifeline.

    `peers` are the ends of its channels to other ranks and `listener` is the socket of the store where ranks
    meet, if it is this one's to serve; this process closes them.
    """

    def __init__(
        self,
        rank: int,
        *,
        cpu: bool,
        peers: Sequence[socket.socket] = (),
        listener: socket.socket | None = None,
    ) -> None:
        self.rank = rank
        self.channel: Channel[FromRank, ToRank]
        self.channel, other = Channel.pair()
        store = -1 if listener is None else listener.fileno()
        descriptors = [peer.fileno() for peer in peers]
        arguments = [str(other.fileno()), ",".join(map(str, descriptors)), str(store)]
        visible = visible_device(rank, os.environ, cpu=cpu)
        with other:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", PROGRAM, *arguments, *sys.path],
                stdin=subprocess.PIPE,
                pass_fds=[other.fileno(), *descriptors, *([store] if listener else [])],
                env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
            )
        for inherited in (*peers, *([listener] if listener else [])):
            inherited.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ending(self) -> str | None:
        """How the process ended; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def end(self) -> None:
        """Ask it to end, by closing the lifeline."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()

    def reap(self, seconds: float) -> None:
        """Wait until it has ended; kill it if that takes more than `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.channel.close()


def visible_device(rank: int, environment: Mapping[str, str], *, cpu: bool) -> str:
    """The one GPU that a rank sees: of those that Ray assigned, named by index, UUID or MIG device.

    None on the CPU. A process sees one MIG device at most, so each rank gets its own by name.
    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    if cpu:
        return ""
    assigned = [one.strip() for one in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return assigned[rank] if rank < len(assigned) else str(rank)
