"""`capstan status`: what a release serves now."""

import time
from collections.abc import Mapping
from http import HTTPStatus

from k8s.clients.helm import Release
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.commands.release_status import (
    ReleaseStatus,
    last_events,
    model_rows,
    model_statuses,
    pod_rows,
    versions,
)
from k8s.commands.session import Session, installed_revisions, service_name
from k8s.commands.traffic import TrafficMeter, read_exporter
from k8s.errors import ClusterError, UnreachableError
from k8s.planning.nodes import count_gpus, free_resources
from k8s.resources.pod import Image
from k8s.resources.rayservice import serve_applications
from k8s.rollout.observer import Observer

INTERVAL_S = 2.0
MODEL_COLUMNS = ("MODEL", "STATE", "REPLICAS", "WANTED", "BOUNDS", "REQUESTS/S", "MESSAGE")
POD_COLUMNS = ("POD", "POOL", "STATE", "READY", "RESTARTS", "GPUS", "NODE")


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
