"""One release of the chart in a namespace of its own."""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.commands import BIN, run
from tests.e2e.objects import Namespace
from tests.e2e.waiting import until

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "capstan"
HELM_SECONDS = 300.0
# Ray, Serve and torch start in five pods that share two cores here.
RUNNING_SECONDS = 480.0
TEST_SECONDS = 200.0
GONE_SECONDS = 120.0


@dataclass(frozen=True)
class Release:
    """A release whose applications run."""

    name: str
    namespace: Namespace
    before: frozenset[str]
    """What the namespace held before."""

    def status(self) -> dict[str, Any]:
        """The status of the RayService."""
        service = self.namespace.get("RayService", self.name) or {}
        status: dict[str, Any] = service.get("status") or {}
        return status

    def applications(self) -> dict[str, str]:
        """The status of each Serve application of the cluster that takes requests."""
        found = self.status().get("activeServiceStatus", {}).get("applicationStatuses") or {}
        return {name: application["status"] for name, application in found.items()}

    def workers(self, pool: str = "") -> list[dict[str, Any]]:
        """The worker pods, of one node pool or of all."""
        group = f",ray.io/group={pool}" if pool else ""
        return self.namespace.pods(f"ray.io/node-type=worker{group}")

    def wait_until_running(self, *models: str) -> None:
        """Wait until these applications, and no others, run and each worker is ready."""
        wanted = dict.fromkeys(models, "RUNNING")
        until("the applications run", self.applications, wanted.__eq__, seconds=RUNNING_SECONDS)
        until("a pod answers as proxy", self._ready, "True".__eq__, seconds=60)

    def _ready(self) -> str:
        conditions = self.status().get("conditions") or []
        return next((str(each["status"]) for each in conditions if each["type"] == "Ready"), "unknown")

    def execute(self, pod: str, *command: str) -> str:
        """What a command prints in the Ray container of a pod."""
        return run("kubectl", "-n", self.namespace.name, "exec", pod, "--", *command)

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """The address of Ray's dashboard, through the API server."""
        command = [str(BIN / "kubectl"), "-n", self.namespace.name, "port-forward"]
        command += [f"service/{self.name}-head-svc", ":8265"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:  # noqa: S603
            try:
                # kubectl says where it listens, or ends.
                said = forward.stdout.readline() if forward.stdout else ""
                assert said.startswith("Forwarding from "), said
                yield "http://" + said.split()[2]
            finally:
                forward.terminate()

    def dashboard_token(self) -> str:
        """The token that KubeRay made for the cluster that takes requests."""
        cluster = self.status()["activeServiceStatus"]["rayClusterName"]
        secret = self.namespace.get("Secret", cluster)
        assert secret, f"there is no Secret {cluster}"
        return base64.b64decode(secret["data"]["auth_token"]).decode()

    def test(self) -> str:
        """What `helm test` prints."""
        command = ["test", self.name, "-n", self.namespace.name, "--timeout", "3m"]
        return run("helm", *command, seconds=TEST_SECONDS)

    def uninstall(self) -> None:
        """`helm uninstall`, and wait until no pod is left."""
        run(
            "helm", "uninstall", self.name, "--namespace", self.namespace.name, "--wait", seconds=HELM_SECONDS
        )
        until("all pods are gone", self._pod_names, [].__eq__, seconds=GONE_SECONDS)

    def _pod_names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.namespace.all("Pod")]


@contextmanager
def installed(name: str, namespace: Namespace, *values: str) -> Iterator[Release]:
    """Install the chart with these files of values; uninstall it at the end unless a test has."""
    before = frozenset(namespace.contents())
    files = [argument for file in values for argument in ("--values", file)]
    command = ["install", name, str(CHART), "-n", namespace.name, "--wait", "--timeout", "5m", *files]
    run("helm", *command, seconds=HELM_SECONDS)
    release = Release(name, namespace, before)
    try:
        yield release
    finally:
        if run("helm", "list", "--namespace", namespace.name, "--all", "--short").split():
            release.uninstall()
