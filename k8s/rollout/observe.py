"""Looking at a release: everything that the verdict on a rollout needs, in one snapshot."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from k8s.doors.cluster import Cluster
from k8s.doors.pods import Pods
from k8s.errors import ClusterError
from k8s.state import serve
from k8s.state.objects import CLUSTER_LABEL, ORIGIN_LABEL, Event, Pod, Service
from k8s.state.serve import App
from k8s.state.snapshot import Snapshot

Json = Mapping[str, Any]


class Observer:
    """Sees one RayService with its clusters, pods, events and applications."""

    def __init__(self, cluster: Cluster, pods: Pods, name: str) -> None:
        self._cluster = cluster
        self._pods = pods
        self._name = name
        self._tokens: dict[str, str | None] = {}

    def service(self) -> dict[str, Any] | None:
        """The RayService as the API gives it, or None."""
        return self._cluster.find(f"{self._cluster.ray}/rayservices/{self._name}")

    def clusters(self) -> list[dict[str, Any]]:
        """The RayClusters of the service that are not being deleted."""
        found = self._cluster.items(f"{self._cluster.ray}/rayclusters", f"{ORIGIN_LABEL}={self._name}")
        return [c for c in found if not c["metadata"].get("deletionTimestamp")]

    def snapshot(self, since: datetime | None = None) -> Snapshot:
        """What the cluster says now; of events, those after `since`."""
        found = self.service()
        service = Service.from_api(found) if found else None
        clusters = self.clusters()
        names = [c["metadata"]["name"] for c in clusters]
        pods = self.pods(names)
        apps = {c["metadata"]["name"]: self._apps(c, pods) for c in clusters}
        return Snapshot(
            service=service,
            pods=tuple(pods),
            events=tuple(self.events(names, pods, since)),
            apps={name: a for name, a in apps.items() if a},
            clusters=tuple(names),
            now=datetime.now(UTC),
        )

    def pods(self, clusters: Sequence[str]) -> list[Pod]:
        """The pods of these Ray clusters."""
        if not clusters:
            return []
        selector = f"{CLUSTER_LABEL} in ({','.join(clusters)})"
        return [Pod.from_api(p) for p in self._cluster.items(f"{self._cluster.core}/pods", selector)]

    def events(
        self, clusters: Sequence[str], pods: Sequence[Pod], since: datetime | None = None
    ) -> list[Event]:
        """The events about the service, its clusters and their pods, oldest first."""
        names = {self._name, *clusters, *(p.name for p in pods)}
        found = [Event.from_api(e) for e in self._cluster.items(f"{self._cluster.core}/events")]
        start = since.isoformat().replace("+00:00", "Z") if since else ""
        return sorted((e for e in found if e.name in names and e.last >= start), key=lambda e: e.last)

    def _apps(self, cluster: Json, pods: Sequence[Pod]) -> tuple[App, ...]:
        name = cluster["metadata"]["name"]
        head = next((p for p in pods if p.cluster == name and p.head and p.ready and not p.deleting), None)
        if head is None:
            return ()
        answer = self._pods.dashboard(head.name, self._find_token(cluster))
        return serve.apps(answer) if answer else ()

    def token(self, cluster: str) -> str | None:
        """The token of a cluster's dashboard, where it asks for one, once a snapshot needed it."""
        return self._tokens.get(cluster)

    def _find_token(self, cluster: Json) -> str | None:
        name, options = cluster["metadata"]["name"], cluster["spec"].get("authOptions")
        if not options or options.get("mode", "token") != "token":
            return None
        if name not in self._tokens:
            try:
                secret = self._cluster.find(
                    f"{self._cluster.core}/secrets/{options.get('secretName') or name}"
                )
            except ClusterError:
                secret = None
            coded = ((secret or {}).get("data") or {}).get("auth_token")
            if coded is None:
                return None
            self._tokens[name] = base64.b64decode(coded).decode()
        return self._tokens[name]
