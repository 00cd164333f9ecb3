"""Watching a release: snapshots of its objects, taken until the verdict is done or failed."""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.clients.retry import INTERVAL_S, Clock
from k8s.errors import ClusterError, RolloutError, UnreachableError
from k8s.planning.failures import Failure
from k8s.planning.verdict import State, Target, judge, waiting
from k8s.resources import serve
from k8s.resources.pod import CLUSTER_LABEL, ORIGIN_LABEL, Pod
from k8s.resources.rayservice import RayService
from k8s.resources.serve import ServeApplication
from k8s.resources.snapshot import JOB_LABEL, DownloadJob, Event, Snapshot, newest_download

Json = Mapping[str, Any]
INSTANCE_LABEL = "app.kubernetes.io/instance"


class Observer:
    """Observes one RayService with its RayClusters, pods, events and applications."""

    def __init__(self, client: KubernetesClient, pods: Pods, name: str) -> None:
        self._client = client
        self._pods = pods
        self._name = name
        self._tokens: dict[str, str | None] = {}

    def service(self) -> dict[str, Any] | None:
        """The RayService as the API returns it, or None."""
        return self._client.find(f"{self._client.ray}/rayservices/{self._name}")

    def ray_clusters(self) -> list[dict[str, Any]]:
        """The RayClusters of the service that are not being deleted."""
        found = self._client.items(f"{self._client.ray}/rayclusters", f"{ORIGIN_LABEL}={self._name}")
        return [c for c in found if not c["metadata"].get("deletionTimestamp")]

    def snapshot(self, since: datetime | None = None) -> Snapshot:
        """The state now; only events after `since`."""
        found = self.service()
        service = RayService.from_api(found) if found else None
        clusters = self.ray_clusters()
        names = [c["metadata"]["name"] for c in clusters]
        pods = self.pods(names)
        apps = {c["metadata"]["name"]: self._apps(c, pods) for c in clusters}
        return Snapshot(
            service=service,
            pods=tuple(pods),
            events=tuple(self.events(names, pods, since)),
            apps={name: a for name, a in apps.items() if a},
            ray_clusters=tuple(names),
            now=datetime.now(UTC),
            download=self._download(found),
        )

    def deployed_at(self) -> dict[str, float]:
        """When Serve last deployed each application, in Serve's own time; empty where nothing answers."""
        try:
            seen = self.snapshot()
        except UnreachableError:
            return {}
        serving = seen.service.active if seen.service else ""
        return {app.name: app.deployed_at for app in seen.apps.get(serving, ())}

    def pods(self, ray_clusters: Sequence[str]) -> list[Pod]:
        """The pods of these Ray clusters."""
        if not ray_clusters:
            return []
        selector = f"{CLUSTER_LABEL} in ({','.join(ray_clusters)})"
        return [Pod.from_api(p) for p in self._client.items(f"{self._client.core}/pods", selector)]

    def events(
        self, ray_clusters: Sequence[str], pods: Sequence[Pod], since: datetime | None = None
    ) -> list[Event]:
        """The events about the service, its RayClusters and their pods, oldest first."""
        names = {self._name, *ray_clusters, *(p.name for p in pods)}
        found = [Event.from_api(e) for e in self._client.items(f"{self._client.core}/events")]
        start = since.isoformat().replace("+00:00", "Z") if since else ""
        return sorted((e for e in found if e.name in names and e.last >= start), key=lambda e: e.last)

    def _download(self, service: Json | None) -> DownloadJob | None:
        """The Job that downloads models; None where it is complete, absent or not visible."""
        instance = ((service or {"metadata": {}})["metadata"].get("labels") or {}).get(INSTANCE_LABEL)
        if not instance:
            return None
        try:
            path = f"/apis/batch/v1/namespaces/{self._client.namespace}/jobs"
            job = newest_download(self._client.items(path, f"{INSTANCE_LABEL}={instance}"))
        except ClusterError:
            return None
        if job is None:
            return None
        selector = f"{JOB_LABEL}={job['metadata']['name']}"
        found = map(Pod.from_api, self._client.items(f"{self._client.core}/pods", selector))
        pods = tuple(sorted(found, key=lambda p: p.created))
        lines = self._pods.log(pods[-1].name, lines=1) if pods else []
        return DownloadJob.from_api(job, pods, lines[-1] if lines else "")

    def _apps(self, ray_cluster: Json, pods: Sequence[Pod]) -> tuple[ServeApplication, ...]:
        name = ray_cluster["metadata"]["name"]
        head = next((p for p in pods if p.cluster == name and p.head and p.ready and not p.deleting), None)
        if head is None:
            return ()
        answer = self._pods.dashboard(head.name, self._find_token(ray_cluster))
        return serve.applications(answer) if answer else ()

    def token(self, ray_cluster: str) -> str | None:
        """The token of a RayCluster's dashboard, where a snapshot needed one."""
        return self._tokens.get(ray_cluster)

    def _find_token(self, ray_cluster: Json) -> str | None:
        name, options = ray_cluster["metadata"]["name"], ray_cluster["spec"].get("authOptions")
        if not options or options.get("mode", "token") != "token":
            return None
        if name not in self._tokens:
            try:
                secret = self._client.find(f"{self._client.core}/secrets/{options.get('secretName') or name}")
            except ClusterError:
                secret = None
            coded = ((secret or {}).get("data") or {}).get("auth_token")
            if coded is None:
                return None
            self._tokens[name] = base64.b64decode(coded).decode()
        return self._tokens[name]


class WatchError(RolloutError):
    """A rollout failed, or passed its deadline (`failure` is None then)."""

    def __init__(self, sentence: str, failure: Failure | None) -> None:
        super().__init__(sentence)
        self.failure = failure


def watch(
    observe: Callable[[], Snapshot],
    target: Target,
    *,
    timeout_s: float,
    say: Callable[[str], None],
    clock: Clock,
) -> Snapshot:
    """Observe every 2 s until the rollout is done; returns the last snapshot.

    An API server that does not answer is asked again until the deadline. Raises WatchError where the rollout
    failed or `timeout_s` seconds have passed.
    """
    end = clock.monotonic() + timeout_s
    last = "nothing seen yet"
    while True:
        try:
            seen = observe()
            verdict = judge(seen, target)
        except UnreachableError as error:
            verdict = waiting(f"{error}; retrying")
        if verdict.sentence != last:
            say(verdict.sentence)
        last = verdict.sentence
        if verdict.state is State.DONE:
            return seen
        if verdict.state is State.FAILED:
            raise WatchError(verdict.sentence, verdict.failure)
        if clock.monotonic() >= end:
            raise WatchError(f"not done within {timeout_s:g} s (--timeout); last seen: {last}", None)
        clock.sleep(INTERVAL_S)


def failure_lines(error: RolloutError, pods: Pods) -> list[str]:
    """What failed, with the last lines of the container's log."""
    found = [f"failed: {error}"]
    failure = error.failure if isinstance(error, WatchError) else None
    if failure is None or not failure.pod:
        return found
    previous = failure.kind in ("CrashLoopBackOff", "OOMKilled")
    try:
        lines = pods.log(failure.pod, failure.container, previous=previous)
    except UnreachableError:
        return found
    return [*found, *(f"  {failure.pod} | {line}" for line in lines)]
