"""The process of one rank, as the replica sees it."""

import subprocess
import sys

import torch

from service.engine.parallel.channel import Channel
from service.engine.parallel.messages import FromRank, ToRank

# The module search path travels along: Ray extends it inside the replica's process only. GPUs are hidden
# before torch can see them, as transformers shards over whatever accelerator there is.
PROGRAM = """
import os, sys
if sys.argv[2] == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path[:] = sys.argv[3:]
from service.engine.parallel import lifeline
lifeline.hold()
from service.engine.parallel.rank import main
main(int(sys.argv[1]))
"""


class RankProcess:
    """A process with a channel to it, whose standard input is its lifeline."""

    def __init__(self, rank: int, device: torch.device) -> None:
        self.rank = rank
        self.channel: Channel[FromRank, ToRank]
        self.channel, other = Channel.pair()
        with other:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", PROGRAM, str(other.fileno()), device.type, *sys.path],
                stdin=subprocess.PIPE,
                pass_fds=[other.fileno()],
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Ask it to end, by letting go of the lifeline."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def reap(self, seconds: float) -> None:
        """Wait until it has ended; kill it when that takes more than `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
