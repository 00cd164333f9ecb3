"""`python -m service.run` with other commands than Ray's."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.slow

SECONDS = 30
# Prints its process, then stops on SIGINT alone, with status 7.
INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""
# Leaves a process behind that ignores SIGTERM, in a session of its own, and prints its number.
LEAVING = """
import subprocess, sys
code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
left = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
left.stdout.readline()
print(left.pid, flush=True)
"""


@contextmanager
def running(code: str, *, ignored: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """Run a program through `service.run`, with SIGINT ignored as a shell does for background commands."""
    program = (
        f"import sys; from service.run import run; sys.exit(run([sys.executable, '-c', {code!r}], grace=0.5))"
    )
    if ignored:
        program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {program}"
    with subprocess.Popen(  # noqa: S603 - the program above
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignored", [False, True], ids=["foreground", "background"])
def test_a_signal_reaches_the_command_as_an_interrupt(number: signal.Signals, ignored: bool) -> None:
    """SIGTERM and SIGINT stop the command as Ctrl-C would, and its exit status is returned."""
    with running(INTERRUPTIBLE, ignored=ignored) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(SECONDS) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_processes_left_behind_are_ended() -> None:
    """A process that the command leaves behind is ended, even in another session and ignoring SIGTERM."""
    with running(LEAVING) as process:
        assert process.stdout is not None
        left = int(process.stdout.readline())
        assert process.wait(SECONDS) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(left, 0)
