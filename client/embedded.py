"""The embedded server, for one run: a process of its own, which ends with this one."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.errors import ClientError

START_SECONDS = 300.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
# Variables of this command, which the server would refuse as unknown settings.
OWN = ("CAPSTAN_SERVER", "CAPSTAN_API_KEY", "CAPSTAN_API_KEY_FILE", "CAPSTAN_RELEASE")


@contextmanager
def embedded_server() -> Iterator[str]:
    """Serve the embedded model, or the one of CAPSTAN_MODEL, on a free port; yields its address.

    Raises ClientError with the last lines of its log if it ends, or is not ready within START_SECONDS.
    """
    with tempfile.TemporaryDirectory(prefix="capstan-") as directory:
        log, port = Path(directory) / "server.log", _free_port()
        environment = {name: value for name, value in os.environ.items() if name not in OWN}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "service.standalone", "--port", str(port)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the server
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
            )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(address, process, log)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline, seen = time.monotonic() + START_SECONDS, "nothing yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ClientError(f"the embedded server ended with status {process.returncode}: {_tail(log)}")
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5) as response:  # noqa: S310 - our own
                if response.status == 200:
                    return
                seen = f"status {response.status}"
        except OSError as error:
            seen = str(error)
        time.sleep(POLL_SECONDS)
    raise ClientError(
        f"the embedded server was not ready within {START_SECONDS:.0f} s; last seen: {seen}; {_tail(log)}"
    )


def _tail(log: Path) -> str:
    return "its log ends:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
