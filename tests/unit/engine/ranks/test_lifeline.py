"""What becomes of a rank whose replica is killed."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20.0

RANK = """
import os, time
from service.engine.ranks import lifeline
lifeline.hold()
os.write(1, b"up\\n")
time.sleep(600)
"""
REPLICA = f"""
import subprocess, sys, time
rank = subprocess.Popen([sys.executable, "-c", {RANK!r}], stdin=subprocess.PIPE)
time.sleep(600)
"""


def test_a_rank_ends_with_a_replica_that_is_killed() -> None:
    """A replica that is killed, and can close nothing, leaves no rank behind."""
    command = [sys.executable, "-c", REPLICA]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as replica:  # noqa: S603
        assert replica.stdout is not None
        assert replica.stdout.readline() == b"up\n"
        replica.send_signal(signal.SIGKILL)
        # The rank holds the other end of this pipe, which ends when the last that holds it has ended.
        rest, _ = replica.communicate(timeout=PATIENCE_SECONDS)
    assert rest == b""
