"""A server as `make serve` starts it, in a process of its own and on free ports."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

ROOT = Path(__file__).parent.parent.parent
# What `make serve` sets.
SERVE_VARIABLES = dict(
    re.findall(r"^export (RAY_\w+) \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
)

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """A running server: the address of its first application, and the process that was started."""

    address: str
    process: "subprocess.Popen[bytes]"

    def commands(self) -> dict[psutil.Process, list[str]]:
        """The processes below the server and their command lines; those that have just ended are left out."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a zombie as well
                found[process] = process.cmdline()
        return found

    def replicas(self) -> list[psutil.Process]:
        """The processes that Serve has named after a replica."""
        return [process for process, words in self.commands().items() if "ServeReplica" in " ".join(words)]


@contextmanager
def start(
    config: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    python: Path | None = None,
    directory: Path = ROOT,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[Server]:
    """Serve a config file with a Python until the test is done; the first application is ready.

    The port in the file is replaced by a free one, so that the developer's own server is not in the way.
    """
    settings = yaml.safe_load(config.read_text())
    port = free_port()
    settings["http_options"] |= {"host": "127.0.0.1", "port": port}
    rewritten = log.with_suffix(".yaml")
    rewritten.write_text(yaml.safe_dump(settings))
    address = f"http://127.0.0.1:{port}{settings['applications'][0]['route_prefix'].rstrip('/')}"
    variables = {
        **os.environ,
        **SERVE_VARIABLES,
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        # A Ray of its own: one that runs on this machine already may have other code.
        "RAY_ADDRESS": "local",
        # The driver's own tracing would count its subprocesses as the tests'.
        "COVERAGE_PROCESS_START": "",
        **(environment or {}),
    }
    command = [str(python or sys.executable), "-m", "service.run", str(rewritten)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is built above
            command, cwd=directory, env=variables, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_until_ready(address, process, log, ready_seconds)
            yield Server(address, process)
        finally:
            _stop(process)


@contextmanager
def serve(
    config: Path, log: Path, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[str]:
    """As `start`, for tests that need only the address."""
    with start(config, log, environment, **options) as server:
        yield server.address


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float) -> None:
    deadline, seen = time.monotonic() + seconds, "nothing yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}:\n{_tail(log)}")
        try:
            response = httpx.get(address + "/readyz", timeout=2)
            if response.status_code == 200:
                return
            seen = f"status {response.status_code}"
        except httpx.HTTPError as error:
            seen = repr(error)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the server was not ready within {seconds} s; last seen: {seen}\n{_tail(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
        for left in family:
            with suppress(psutil.NoSuchProcess):
                left.kill()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


def error_code(response: httpx.Response) -> Any:
    """The public code of an error."""
    return response.json()["error"]["code"]
