"""A release that `capstan` itself made, in a namespace of its own, for the tests of rollouts."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.load import Load
from tests.e2e.objects import Namespace

CAPSTAN = Path(sys.executable).parent / "capstan"
LIMIT_S = 900.0


@dataclass(frozen=True)
class Ended:
    """How a command ended, what it said, and after how many seconds."""

    code: int
    said: str
    seconds: float


@dataclass(frozen=True)
class Site:
    """A namespace with a release in it."""

    namespace: Namespace
    address: str
    image: str

    @property
    def host(self) -> str:
        """The name in requests to this release."""
        return f"{self.namespace.name}.test"

    def load(self) -> Load:
        """A steady load of captions."""
        return Load(self.address, self.host)

    def start(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """Start `capstan` in this namespace."""
        place = ["--namespace", self.namespace.name]
        place += ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        return subprocess.Popen(  # noqa: S603 - the tests' own command
            [str(CAPSTAN), *arguments, *place],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, kubeconfig: Path | None = None) -> Ended:
        """Run `capstan` in this namespace to its end."""
        began = time.monotonic()
        process = self.start(*arguments, kubeconfig=kubeconfig)
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return Ended(process.returncode, said, time.monotonic() - began)

    def service(self) -> dict[str, Any]:
        """The RayService."""
        found = self.namespace.get("RayService", "capstan")
        assert found is not None
        return found

    def clusters(self) -> list[str]:
        """The RayClusters that are not on their way out."""
        found = self.namespace.all("RayCluster")
        return [c["metadata"]["name"] for c in found if not c["metadata"].get("deletionTimestamp")]

    def workers(self) -> list[str]:
        """The worker pods that are not on their way out."""
        return sorted(p["metadata"]["uid"] for p in self.namespace.pods("ray.io/node-type=worker"))

    def active(self) -> str:
        """The RayCluster that serves."""
        name: str = self.service()["status"]["activeServiceStatus"]["rayClusterName"]
        return name
