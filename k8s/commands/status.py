"""`capstan status`: what a release serves now: models, replicas, pods, nodes, GPUs, versions, events."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from k8s.clients.helm import Release
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.commands.session import Session, installed_revisions, service_name
from k8s.commands.traffic import TrafficMeter, read_exporter
from k8s.errors import ClusterError, UnreachableError
from k8s.planning.cluster_checks import VERSION_ANNOTATION
from k8s.planning.nodes import count_gpus, free_resources
from k8s.resources.pod import Image, Pod
from k8s.resources.quantity import plural
from k8s.resources.rayservice import replica_bounds, serve_applications
from k8s.resources.snapshot import Snapshot
from k8s.rollout.watch import Observer

Json = Mapping[str, Any]
EVENTS = 8
INTERVAL_S = 2.0
MODEL_COLUMNS = ("MODEL", "STATE", "REPLICAS", "WANTED", "BOUNDS", "REQUESTS/S", "MESSAGE")
POD_COLUMNS = ("POD", "POOL", "STATE", "READY", "RESTARTS", "GPUS", "NODE")


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model: its state, and its replicas: running, aimed at by Serve, and the config's bounds."""

    name: str
    status: str
    running: int
    wanted: int
    least: int
    most: int
    message: str = ""
    requests_per_second: float | None = None
    """Over the last seconds; None where HAProxy's counters could not be read."""


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """A release at one moment."""

    release: str
    namespace: str
    ready: bool
    active: str
    pending: str
    revision: int
    chart: str
    versions: Mapping[str, str]
    images: tuple[Image, ...]
    models: tuple[ModelStatus, ...]
    pods: tuple[Pod, ...]
    gpus: Mapping[str, tuple[int, int]]
    events: tuple[str, ...]

    @property
    def serves(self) -> bool:
        """Whether every model has all its replicas and no rollout is in progress."""
        full = all(m.status == "RUNNING" and m.running >= m.least for m in self.models)
        return self.ready and bool(self.models) and full and not self.pending

    @property
    def nodes(self) -> list[str]:
        """The nodes of its pods."""
        return sorted({p.node for p in self.pods if p.node})

    def value(self) -> dict[str, Any]:
        """The status as JSON."""
        found = asdict(self)
        found["serves"] = self.serves
        found["nodes"] = self.nodes
        found["gpus"] = {k: {"free": free, "allocatable": total} for k, (free, total) in self.gpus.items()}
        return found

    def lines(self) -> list[str]:
        """The status as lines of text, without the tables."""
        state = "serves" if self.serves else "serves partly" if self.ready else "does not serve"
        found = [f"release {self.release} in namespace {self.namespace}: {state}"]
        found.append(f"  revision {self.revision} ({self.chart}), cluster {self.active or 'none yet'}")
        known = {"Ray": self.versions["ray"], "KubeRay": self.versions["kuberay"]}
        found.append("  " + ", ".join(f"{name} {version or '(unknown)'}" for name, version in known.items()))
        if self.pending:
            found.append(f"  a rollout is in progress: {self.pending} is starting")
        found += [f"  image {image}" for image in self.images]
        found.append(f"  {plural(len(self.nodes), 'node')}: {', '.join(self.nodes) or 'none'}")
        found += [f"  {key}: {free} free of {total}" for key, (free, total) in self.gpus.items()]
        return found


def model_statuses(
    seen: Snapshot, configs: Mapping[str, Json], rates: Mapping[str, float | None]
) -> list[ModelStatus]:
    """The models of the RayCluster that serves, or of the first one while it starts."""
    service = seen.service
    name = (service.active or service.pending) if service else ""
    known = {a.name: a for a in seen.apps.get(name, ())}
    found = []
    for name, config in sorted(configs.items()):
        bounds = replica_bounds(config).values()
        least, most = sum(b[0] for b in bounds), sum(b[1] for b in bounds)
        app = known.get(name)
        if app is None:
            found.append(ModelStatus(name, "NOT_STARTED", 0, least, least, most))
            continue
        running = sum(d.running for d in app.deployments)
        wanted = sum(d.target_replicas for d in app.deployments)
        message = app.message or next((d.message for d in app.deployments if d.message), "")
        found.append(
            ModelStatus(
                name, app.status, running, wanted, least, most, message.strip()[:300], rates.get(name)
            )
        )
    return found


def last_events(seen: Snapshot) -> tuple[str, ...]:
    """The last events, oldest first."""
    return tuple(
        f"{e.last} {e.type} {e.reason} {e.kind}/{e.name}: {e.message[:160]}" for e in seen.events[-EVENTS:]
    )


def model_rows(found: Sequence[ModelStatus]) -> list[list[str]]:
    """The models as rows of a table."""
    return [
        [
            m.name,
            m.status,
            str(m.running),
            str(m.wanted),
            f"{m.least}-{m.most}",
            "-" if m.requests_per_second is None else f"{m.requests_per_second:.1f}",
            m.message.partition("\n")[0][:60],
        ]
        for m in found
    ]


def pod_rows(pods: Sequence[Pod]) -> list[list[str]]:
    """The pods as rows of a table."""
    rows = []
    for pod in sorted(pods, key=lambda p: (p.cluster, not p.head, p.name)):
        waiting = next((c.waiting for c in pod.containers if c.waiting), "")
        state = (
            "Terminating"
            if pod.deleting
            else waiting or ("Unschedulable" if pod.unschedulable else pod.phase)
        )
        restarts = sum(c.restarts for c in pod.containers)
        rows.append(
            [
                pod.name,
                pod.group,
                state,
                "yes" if pod.ready else "no",
                str(restarts),
                str(pod.gpus),
                pod.node or "-",
            ]
        )
    return rows


def versions(service: Json | None, ray_clusters: Sequence[Json]) -> dict[str, str]:
    """The version of Ray, and of the operator that made the newest RayCluster."""
    ray = ((service or {}).get("spec") or {}).get("rayClusterConfig", {}).get("rayVersion", "")
    made = [(c["metadata"].get("annotations") or {}).get(VERSION_ANNOTATION, "") for c in ray_clusters]
    return {"ray": ray, "kuberay": max(made, default="")}


def status(session: Session, *, repeat: bool) -> bool:
    """Show the status once, or every 2 s; returns whether everything serves."""
    client = session.client()
    release = session.release(client)
    meter = TrafficMeter(read_exporter(client))
    while True:
        try:
            found = read_status(client, release, meter)
            show(session, found, repeat=repeat)
        except UnreachableError as error:
            if not repeat:
                raise
            session.display.say(f"{error}; retrying")
        if not repeat:
            return found.serves
        time.sleep(INTERVAL_S)


def read_status(client: KubernetesClient, release: Release, meter: TrafficMeter) -> ReleaseStatus:
    """The status of a release. Raises RefusedError where it is not installed."""
    history = installed_revisions(client, release)
    observer = Observer(client, Pods(client), service_name(release))
    seen, found = observer.snapshot(), observer.service()
    service = seen.service
    configs = serve_applications(found) if found else {}
    rates = meter.measure([p.name for p in seen.pods if p.ready and not p.deleting], configs)
    images = {Image(c.image, c.image_id) for p in seen.pods for c in p.containers if not c.init}
    return ReleaseStatus(
        release=release.name,
        namespace=release.namespace,
        ready=bool(service and service.ready),
        active=service.active if service else "",
        pending=service.pending if service else "",
        revision=history[-1].number,
        chart=history[-1].chart,
        versions=versions(found, observer.ray_clusters()),
        images=tuple(sorted(images)),
        models=tuple(model_statuses(seen, configs, rates)),
        pods=seen.pods,
        gpus=_gpus(client),
        events=last_events(seen),
    )


def show(session: Session, found: ReleaseStatus, *, repeat: bool = False) -> None:
    """Show a status, with `repeat` as one of several."""
    session.display.result(found.value(), found.lines(), more=repeat)
    session.display.table("models", MODEL_COLUMNS, model_rows(found.models))
    session.display.table("pods", POD_COLUMNS, pod_rows(found.pods))
    if found.events and not session.display.as_json:
        session.display.result(None, ["last events", *(f"  {e}" for e in found.events)])


def _gpus(client: KubernetesClient) -> Mapping[str, tuple[int, int]]:
    """Free and allocatable GPUs; empty where this account may not list nodes."""
    try:
        return count_gpus(free_resources(client.items("/api/v1/nodes"), client.items("/api/v1/pods")))
    except ClusterError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return {}
        raise
