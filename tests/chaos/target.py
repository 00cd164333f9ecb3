"""The release that faults are done to: its pods, its load, and whether all of it is there."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.chaos.report import Report
from tests.e2e.commands import CommandError, run
from tests.e2e.load import Load
from tests.e2e.site import Site
from tests.e2e.waiting import until

# Eight clients: three whose answers are streams, and five that send an image for one to three seconds.
SEEDS = (25, 1599, 25)
UPLOADS_S = (1.0, 1.5, 2.0, 2.5, 3.0)
REPLICAS = 2
WHOLE_S = 300.0
WARM_UP_S = 12.0
AFTERWARDS_S = 10.0
KILL = """for process in /proc/[0-9]*; do
  grep -qs "{pattern}" $process/{file} && kill -9 ${{process#/proc/}} && echo $process
done; true"""


@dataclass(frozen=True)
class Target:
    """A release with two replicas, one in each worker pod."""

    site: Site

    @contextmanager
    def under_load(
        self,
        fault: str,
        *,
        afterwards_s: float = AFTERWARDS_S,
        seeds: Sequence[int] = SEEDS,
        pauses_s: Sequence[float] = (),
    ) -> Iterator[Report]:
        """A steady load before, during and for some seconds after what the `with` block does."""
        load = Load(self.site.address, self.site.host, self.site.key, seeds, UPLOADS_S, pauses_s)
        report = Report(fault, load)
        with load:
            time.sleep(WARM_UP_S)
            yield report
            time.sleep(afterwards_s)
        report.write()

    def workers(self) -> list[dict[str, Any]]:
        """The worker pods that are not on their way out."""
        return self.site.namespace.pods("ray.io/node-type=worker")

    def worker(self) -> str:
        """The name of the first worker pod."""
        return min(str(pod["metadata"]["name"]) for pod in self.workers())

    def heads(self) -> list[str]:
        """The names of the head pods, those on their way out too: one but for moments."""
        pods = self.site.namespace.all("Pod", "ray.io/node-type=head")
        return [str(pod["metadata"]["name"]) for pod in pods]

    def head(self) -> str:
        """The name of the head pod."""
        (name,) = self.heads()
        return name

    def delete(self, pod: str) -> None:
        """Delete a pod as a user does, without waiting."""
        run("kubectl", "-n", self.site.namespace.name, "delete", "pod", pod, "--wait=false")

    def execute(self, pod: str, script: str, *, seconds: float = 60.0) -> str:
        """What a script prints in the Ray container of a pod."""
        command = ["-n", self.site.namespace.name, "exec", pod, "--", "bash", "-c", script]
        return run("kubectl", *command, seconds=seconds)

    def kill(self, pod: str, pattern: str, *, file: str = "cmdline") -> None:
        """`kill -9` of the processes of a pod whose command line, or name (`comm`), matches a pattern."""
        # The container ends with its raylet, and the command with it.
        try:
            killed = self.execute(pod, KILL.format(pattern=pattern, file=file)).split()
        except CommandError as error:
            killed = [str(error)]
        assert killed, f"no process of {pod} matches {pattern}"

    def replicas(self, *, on: str = "") -> set[str]:
        """The actors of the replicas that run, in all pods or the one with this address.

        By Serve's account; none where it does not answer.
        """
        return {
            replica["actor_id"]
            for replica in self._replicas()
            if replica["state"] == "RUNNING" and on in ("", replica["node_ip"])
        }

    def wait_until_replaced(
        self, lost: set[str], actors: Callable[[], Iterable[str]], *, seconds: float
    ) -> None:
        """Wait until `actors` gives none of the lost ones, and the release is whole."""
        until("the lost actors are noticed", lambda: lost & set(actors()), set().__eq__, seconds=seconds)
        self.wait_until_whole()

    def proxies(self) -> dict[str, str]:
        """The actor of each proxy that is healthy, by the address of its pod."""
        found = self._serve().get("proxies", {}).values()
        return {proxy["node_ip"]: proxy["actor_id"] for proxy in found if proxy["status"] == "HEALTHY"}

    def wait_until_whole(self, *, seconds: float = WHOLE_S) -> float:
        """Wait for two ready workers with a replica each, and a proxy on each; gives the seconds it took."""
        began = time.monotonic()
        whole = (REPLICAS, REPLICAS, REPLICAS)
        until("ready workers, replicas and proxies", self._whole, whole.__eq__, seconds=seconds)
        return time.monotonic() - began

    def _whole(self) -> tuple[int, int, int]:
        ready = {
            pod["status"]["podIP"]
            for pod in self.workers()
            for each in pod["status"].get("conditions", [])
            if each["type"] == "Ready" and each["status"] == "True"
        }
        return len(ready), len(self.replicas()), len(ready & self.proxies().keys())

    def _replicas(self) -> list[dict[str, Any]]:
        applications = self._serve().get("applications", {}).values()
        return [
            replica
            for application in applications
            for deployment in application["deployments"].values()
            for replica in deployment["replicas"]
        ]

    def _serve(self) -> dict[str, Any]:
        try:
            return self.site.serve()
        except (httpx.HTTPError, AssertionError, KeyError):
            return {}  # the head is away
