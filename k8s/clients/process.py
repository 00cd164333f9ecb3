"""Subprocesses: helm and kubectl run here, with a time limit, and without secrets in what is shown."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from k8s.clients.background import in_background
from k8s.errors import ToolError

HIDDEN = "***"
STDERR_LINES = 8
SHORTEST = 6

# The last part of a `--set` path whose value is secret.
SECRET_NAME = re.compile(r"(key|keys|token|password|passwd|secret|credential)s?(\[\d+\])?$", re.IGNORECASE)
SECRET_FLAGS = ("--kube-token", "--password", "--token", "--api-key")
SET_FLAGS = ("--set", "--set-string", "--set-json", "--set-literal")
SECRET_TEXT = (
    re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"),
    re.compile(r"(?i)(://)[^/@\s:]+:[^/@\s]+(?=@)"),
    re.compile(
        r"(?i)(\"?(?:[\w-]*token|password|api[_-]?key|secret[_-]?key|client-key-data)\"?\s*[:=]\s*)[^\s,}]+"
    ),
    re.compile(r"\b(eyJ)[\w-]{8,}\.[\w-]+\.[\w-]+"),
)

Echo = Callable[[str], None]


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """The text without tokens, passwords and `secrets`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern in SECRET_TEXT:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def secrets_of(command: Sequence[str]) -> list[str]:
    """The values on a command line that are secret by their names."""
    found = []
    for flag, value in pairwise(command):
        if flag in SET_FLAGS:
            for pair in [value] if flag == "--set-json" else value.split(","):
                name, _, secret = pair.partition("=")
                parts = name.split(".")
                # Environment variables may be secret; hiding a short value would hide half of each line.
                inside = "env" in parts and len(secret) >= SHORTEST
                if inside or any(SECRET_NAME.search(part) for part in parts):
                    found.append(secret)
        elif flag in SECRET_FLAGS:
            found.append(value)
    return found


def find_tool(name: str) -> str:
    """The path of helm or kubectl: on PATH, or next to this Python, where pip installs them.

    Raises ToolError where there is none.
    """
    installed = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(installed) if installed.is_file() else None)
    if found is None:
        raise ToolError(
            f"{name} is neither on PATH nor next to Python; pip install 'capstan-serve[rollout]' installs it"
        )
    return found


@dataclass(frozen=True, slots=True)
class Processes:
    """Runs tools. `echo` gets each command line, redacted, before it runs."""

    echo: Echo | None = None

    def run(self, tool: str, arguments: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> str:
        """Standard output of a tool that exited with 0.

        Ctrl-C is raised once the tool has ended, which runs in its own session; a second one leaves it to
        itself. Raises ToolError: missing, failed (with the last lines of standard error), or not done within
        `timeout_s` seconds.
        """
        command = [find_tool(tool), *arguments]
        secrets = secrets_of(command)
        shown = redact(" ".join([tool, *arguments]), secrets)
        if self.echo is not None:
            self.echo(f"$ {shown}")
        running = in_background(
            lambda: subprocess.run(  # noqa: S603 - a list, never a shell
                command,
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        )
        try:
            done = running.result()
        except KeyboardInterrupt:
            running.exception()
            raise
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"{tool} {arguments[0]} did not end within {timeout_s:g} s and was stopped"
            ) from None
        if done.returncode != 0:
            last = "\n".join(done.stderr.strip().splitlines()[-STDERR_LINES:])
            raise ToolError(f"{tool} {arguments[0]} failed ({done.returncode}): {redact(last, secrets)}")
        return done.stdout
