"""Runs another server for a replica, and ends it and all it started once the replica is gone.

A program of its own, `python -I supervisor.py GRACE COMMAND...`: a replica that is killed cannot end its
child, but the standard input of this program ends with it. Imports nothing of this package.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36  # Source: linux/prctl.h
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a shell has them


def main(grace: float, command: list[str]) -> int:
    """Run a command until it ends or standard input does; return its status, 128 + N for signal N.

    Its process group gets SIGTERM, and `grace` seconds later SIGKILL.
    """
    if sys.platform == "linux":
        # Descendants whose own parent ends become children of this process, so none escapes.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)  # noqa: T201 - the log of the server
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as the interpreter calls it
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=_watch_input, args=(ending,), daemon=True).start()
    threading.Thread(target=_end, args=(server, ending, grace), daemon=True).start()
    status = server.wait()
    _signal_group(server.pid, signal.SIGKILL)
    _kill_adopted()
    return 128 - status if status < 0 else status


def _watch_input(ending: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    ending.set()


def _end(server: "subprocess.Popen[bytes]", ending: threading.Event, grace: float) -> None:
    ending.wait()
    _signal_group(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    _signal_group(server.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _kill_adopted() -> None:
    """Kill descendants that left the process group. Source: proc_pid_stat(5)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            _, _, rest = path.read_text().rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
