"""A release that `capstan` itself made, in a namespace of its own, for the tests of rollouts."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.commands import run
from tests.e2e.load import IMAGE, Load
from tests.e2e.objects import Namespace
from tests.e2e.release import Release
from tests.e2e.waiting import until

CAPSTAN = Path(sys.executable).parent / "capstan"
LIMIT_S = 900.0
GONE_S = 180.0
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@dataclass(frozen=True)
class Ended:
    """How a command ended, what it said, and after how many seconds."""

    code: int
    said: str
    seconds: float


@dataclass(frozen=True)
class Site:
    """A namespace for a release, and the API key that the release asks for."""

    namespace: Namespace
    address: str
    image: str
    key: str | None = None

    @property
    def host(self) -> str:
        """The name in requests to this release."""
        return f"{self.namespace.name}.test"

    def load(self) -> Load:
        """A steady load of captions."""
        return Load(self.address, self.host, self.key)

    def caption(self, *, path: str = "/caption", name: str = "test") -> str:
        """One caption of the known image; the request is called `name` in logs."""
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers = {"Host": self.host, "X-Request-ID": name, **key}
        answer = httpx.post(f"{self.address}{path}", files={"image": IMAGE}, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["caption"])

    def start(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """Start `capstan` in this namespace."""
        place = ["--namespace", self.namespace.name]
        place += ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        return subprocess.Popen(  # noqa: S603 - the tests' own command
            [str(CAPSTAN), *arguments, *place],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **({"CAPSTAN_API_KEY": self.key} if self.key else {})},
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
        ended = Ended(process.returncode, said, time.monotonic() - began)
        print(f"capstan {arguments[0]}: exit code {ended.code} after {ended.seconds:.0f} s\n{said}")  # noqa: T201
        return ended

    def read(self, *arguments: str) -> Any:
        """What `capstan` says as JSON."""
        done = subprocess.run(  # noqa: S603 - the tests' own command
            [str(CAPSTAN), *arguments, "--json", "--namespace", self.namespace.name],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def install(self, *values: str) -> Ended:
        """The first `capstan deploy`, with these files and pairs of values."""
        host = ["--set", f"ingress.hosts[0]={self.host}"]
        ended = self.run("deploy", "--image", self.image, *host, *values)
        assert ended.code == 0, ended.said
        return ended

    def service(self) -> dict[str, Any]:
        """The RayService."""
        found = self.namespace.get("RayService", "capstan")
        assert found is not None
        return found

    def clusters(self) -> list[str]:
        """The RayClusters that are not on their way out."""
        found = self.namespace.all("RayCluster")
        return [c["metadata"]["name"] for c in found if not c["metadata"].get("deletionTimestamp")]

    def pods(self) -> set[str]:
        """All pods that are not on their way out."""
        return {p["metadata"]["uid"] for p in self.namespace.pods()}

    def workers(self) -> list[str]:
        """The worker pods that are not on their way out."""
        return sorted(p["metadata"]["uid"] for p in self.namespace.pods("ray.io/node-type=worker"))

    def active(self) -> str:
        """The RayCluster that serves."""
        name: str = self.service()["status"]["activeServiceStatus"]["rayClusterName"]
        return name

    def serve(self) -> dict[str, Any]:
        """Serve's own account of the cluster that serves, from its dashboard."""
        release = Release("capstan", self.namespace, frozenset())
        headers = {"Authorization": f"Bearer {release.dashboard_token()}"}
        with release.dashboard() as address:
            answer = httpx.get(f"{address}/api/serve/applications/", headers=headers, timeout=30)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def replicas(self) -> dict[str, set[str]]:
        """The actors of each model's replicas: another one has another identity."""
        return {
            name: {r["actor_id"] for d in app["deployments"].values() for r in d["replicas"]}
            for name, app in self.serve()["applications"].items()
        }


@contextmanager
def ground(address: str) -> Iterator[Site]:
    """A new namespace for a release, which goes at the end with all that is in it."""
    space = Namespace(f"capstan-rollouts-{secrets.token_hex(3)}")
    image = f"{os.environ.get('IMAGE', 'localhost/capstan')}:{os.environ.get('TAG', 'e2e')}"
    run("kubectl", "create", "namespace", space.name)
    try:
        run("kubectl", "label", "namespace", space.name, RESTRICTED)
        yield Site(space, address, image)
    finally:
        run("helm", "uninstall", "capstan", "-n", space.name, "--ignore-not-found", seconds=120)
        # KubeRay removes the head's state from Redis by a Job, which a namespace that ends refuses.
        until("no RayCluster is left", lambda: space.all("RayCluster"), [].__eq__, seconds=GONE_S)
        run("kubectl", "delete", "namespace", space.name, "--timeout=180s", seconds=200)
