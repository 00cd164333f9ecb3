"""What surrounds the pods: processes of the cluster that a test can stop, and nodes that it can cut off."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TABLE = "chaos"
CUT_OFF = """
table inet chaos {
    chain received { type filter hook prerouting priority -500; iifname "uplink" drop; }
    chain sent { type filter hook postrouting priority 500; oifname "uplink" drop; }
}
"""


@dataclass(frozen=True)
class Machine:
    """A cluster whose nodes are network namespaces: `run` has a file NAME.pid for each of its processes."""

    run: Path

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Stop a process, which then neither answers nor closes its connections; let it go on at the end."""
        pid = self._pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def partition(self, node: str) -> Iterator[None]:
        """Drop all packets between a node and the others."""
        inside = ["nsenter", f"--net=/run/netns/kube-{node}", "nft"]
        subprocess.run([*inside, "-f", "-"], input=CUT_OFF, text=True, check=True, timeout=10)  # noqa: S603
        try:
            yield
        finally:
            subprocess.run([*inside, "delete", "table", "inet", TABLE], check=True, timeout=10)  # noqa: S603

    def _pid(self, name: str) -> int:
        """The process of a file NAME.pid, or the one whose program is called so."""
        file = self.run / f"{name}.pid"
        if file.exists():
            return int(file.read_text().split()[0])
        programs = [path for path in PROC.glob("[0-9]*/comm") if path.read_text().strip() == name[:15]]
        if len(programs) != 1:
            raise LookupError(
                f"{len(programs)} processes are called {name}, and there is no {file}; need one"
            )
        return int(programs[0].parent.name)
