"""helm and kubectl, as the installation brings them."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
LAST_LINES = 30


class CommandError(AssertionError):
    """A command ended with an error or did not end in time."""


def run(name: str, *arguments: str, seconds: float = 60.0, stdin: str | None = None) -> str:
    """Run a program of the virtual environment and give its output.

    Raises CommandError with the last lines of both streams when it fails or takes longer than `seconds`.
    """
    said = " ".join([name, *arguments])
    try:
        done = subprocess.run(  # noqa: S603 - the tests' own commands
            [str(BIN / name), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandError(f"`{said}` did not end within {seconds:.0f} s") from late
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-LAST_LINES:])
        raise CommandError(f"`{said}` ended with {done.returncode}:\n{last}")
    return done.stdout
