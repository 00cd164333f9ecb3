"""`python -m service.run CONFIG`: Ray's `serve run`, made to stop cleanly on SIGTERM.

`serve run` shuts Serve down on SIGINT only. SIGTERM ends it at once: running requests are cut off, and
HAProxy may stay behind and hold its ports.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

PROC = Path("/proc")
PR_SET_CHILD_SUBREAPER = 36  # Source: linux/prctl.h

GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05


def run(command: Sequence[str], *, grace: float = GRACE_SECONDS) -> int:
    """Run a command and return its exit status. SIGTERM reaches it as SIGINT, as Ctrl-C does.

    Ends the processes that the command leaves behind (on Linux, where Serve uses HAProxy); they get `grace`
    seconds to stop before they are killed.
    """
    _adopt_orphans()
    started: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as the interpreter calls it
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    # Set before the start: a command that is started while SIGINT is ignored would ignore it, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    # In a process group of its own, so that Ctrl-C does not reach it twice.
    with subprocess.Popen(command, process_group=0) as process:  # noqa: S603 - what the user asked for
        started.append(process.pid)
        status = process.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _end_children(number, grace):
            break
    return status


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none can escape."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_children(number: signal.Signals, seconds: float) -> bool:
    """Send a signal to all children, those adopted later too. Returns whether all ended within `seconds`."""
    signalled: set[int] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in set(_children()) - signalled:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            signalled.add(pid)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _children() -> Iterator[int]:
    """The processes whose parent is this one. Source: proc_pid_stat(5)."""
    for path in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            _, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                yield int(path.parent.name)


if __name__ == "__main__":
    sys.exit(run([sys.executable, "-m", "ray.serve.scripts", "run", *sys.argv[1:]]))
