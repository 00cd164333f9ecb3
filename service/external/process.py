"""The replica's side of another server that it runs as a child."""

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from string import Formatter
from tempfile import TemporaryDirectory
from typing import cast

from service.errors import EngineStopped, StartupError
from service.external.server_log import ServerLog

SUPERVISOR = Path(__file__).with_name("supervisor.py")
GRACE_SECONDS = 10.0
# For the supervisor itself, after the grace of the server.
END_SECONDS = 5.0

# Where Python finds this package; the server has packages of its own. Our settings are none of its business.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")


def arguments(template: str, values: Mapping[str, str]) -> list[str]:
    """Fill in a command's placeholders, each of which stays within its argument.

    Raises StartupError for a placeholder that is not one of `values`, and for a command that is no command.
    """
    try:
        parts = shlex.split(template)
        names = {name for part in parts for _, name, _, _ in Formatter().parse(part) if name is not None}
        if unknown := sorted(names - values.keys()):
            known = ", ".join(f"{{{name}}}" for name in values)
            raise StartupError(f"CAPSTAN_ENGINE_COMMAND has {{{unknown[0]}}}; its placeholders are {known}")
        filled = [part.format(**values) for part in parts]
    except (ValueError, IndexError) as error:
        raise StartupError(f"CAPSTAN_ENGINE_COMMAND is not a command: {error}") from None
    if not filled:
        raise StartupError("CAPSTAN_ENGINE_COMMAND is empty; set it to the server's command")
    return filled


def placeholders(template: str) -> set[str]:
    """The names of a command's placeholders."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


class ServerProcess:
    """A server that runs until `end`, or until this process is gone; `directory`, if any, goes with it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        secrets: Mapping[str, str],
        directory: "TemporaryDirectory[str] | None" = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._directory = directory
        self.log = ServerLog()
        self._grace = grace
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in HIDDEN and not name.startswith("CAPSTAN_")
        }
        self._process = subprocess.Popen(  # noqa: S603 - what the operator configured
            [sys.executable, "-I", str(SUPERVISOR), str(grace), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=kept | dict(secrets),
            start_new_session=True,
        )
        # Popen's type is less exact than its documentation.
        output = cast("BufferedReader", self._process.stdout)
        self._reader = threading.Thread(target=self.log.read, args=(output,), name="server log", daemon=True)
        self._reader.start()

    def check(self) -> None:
        """Raise EngineStopped if the server has ended."""
        status = self._process.poll()
        if status is not None:
            raise EngineStopped(f"the engine's server has ended with status {status}")

    def failure(self) -> str:
        """Why the server ended, from the end of its log."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)
        return f"status {self._process.poll()}; its last lines: {self.log.last_lines() or 'none'}"

    def end(self) -> None:
        """End the server and all it started; returns when none is left."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(self._grace + END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        if self._directory is not None:
            self._directory.cleanup()
