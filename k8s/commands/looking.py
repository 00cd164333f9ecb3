"""The commands that only look: status and history."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from k8s.commands import status as statuses
from k8s.commands.meter import Meter, exporter
from k8s.commands.session import Session
from k8s.commands.status import Status
from k8s.doors.cluster import Cluster
from k8s.doors.pods import Pods
from k8s.doors.release import Release, Revision
from k8s.errors import ClusterError, UnreachableError
from k8s.rollout.history import Entry, History
from k8s.rollout.installed import revisions, service_name
from k8s.rollout.observe import Observer
from k8s.rules.nodes import gpus, rooms
from k8s.state.image import Image, short_digest
from k8s.state.serve import config_of

Json = Mapping[str, Any]
INTERVAL_S = 2.0
POD_COLUMNS = ("POD", "POOL", "STATE", "READY", "RESTARTS", "GPUS", "NODE")
REVISION_COLUMNS = ("REVISION", "WHEN", "WHO", "OUTCOME", "SECONDS", "IMAGE", "WHAT")
MODEL_COLUMNS = ("MODEL", "STATE", "REPLICAS", "WANTED", "BOUNDS", "REQUESTS/S", "MESSAGE")


def status(session: Session, *, again: bool) -> bool:
    """Show the status once, or every 2 s; returns whether everything serves."""
    cluster = session.cluster()
    release = session.release(cluster)
    meter = Meter(exporter(cluster))
    while True:
        try:
            found = look(cluster, release, meter)
            show(session, found, again=again)
        except UnreachableError as error:
            if not again:
                raise
            session.display.say(f"{error}; trying again")
        if not again:
            return found.serves
        time.sleep(INTERVAL_S)


def look(cluster: Cluster, release: Release, meter: Meter) -> Status:
    """The status of a release. Raises RefusedError where it is not installed."""
    history = revisions(cluster, release)
    name = service_name(release)
    observer = Observer(cluster, Pods(cluster), name)
    seen, found = observer.snapshot(), observer.service()
    service = seen.service
    configs = config_of(found) if found else {}
    rates = meter.measure([p.name for p in seen.pods if p.ready and not p.deleting], configs)
    images = {Image(c.image, c.image_id) for p in seen.pods for c in p.containers if not c.first}
    return Status(
        release=release.name,
        namespace=release.namespace,
        ready=bool(service and service.ready),
        active=service.active.cluster if service and service.active else "",
        pending=service.pending.cluster if service and service.pending else "",
        revision=history[-1].number,
        chart=history[-1].chart,
        versions=versions(found, observer.clusters()),
        images=tuple(sorted(images)),
        models=tuple(statuses.models(seen, configs, rates)),
        pods=seen.pods,
        gpus=free_gpus(cluster),
        events=statuses.events(seen),
    )


def show(session: Session, found: Status, *, again: bool = False) -> None:
    """Show a status, the only one or one of many."""
    session.display.result(found.value(), found.lines(), more=again)
    session.display.table("models", MODEL_COLUMNS, statuses.model_rows(found.models))
    session.display.table("pods", POD_COLUMNS, statuses.pod_rows(found.pods))
    if found.events and not session.display.as_json:
        session.display.result(None, ["last events", *(f"  {e}" for e in found.events)])


def history(session: Session) -> None:
    """Show Helm's revisions beside the journal."""
    cluster = session.cluster()
    release = session.release(cluster)
    known = revisions(cluster, release)
    entries = History(cluster, release.name).entries()
    told = [tell(r, entries.get(r.number)) for r in known]
    session.display.result({"revisions": told})
    rows = [
        [
            str(t["revision"]),
            t["when"],
            t["who"],
            t["outcome"],
            str(t["seconds"]),
            " ".join(short_digest(i) for i in t["images"]) or "-",
            "; ".join(t["what"])[:100],
        ]
        for t in told
    ]
    session.display.table("revisions", REVISION_COLUMNS, rows)


def versions(service: Json | None, clusters: list[dict[str, Any]]) -> dict[str, str]:
    """The version of Ray, and of the operator that made the newest cluster."""
    ray = ((service or {}).get("spec") or {}).get("rayClusterConfig", {}).get("rayVersion", "")
    made = [(c["metadata"].get("annotations") or {}).get("ray.io/kuberay-version", "") for c in clusters]
    return {"ray": ray, "kuberay": max(made, default="")}


def tell(revision: Revision, entry: Entry | None) -> dict[str, Any]:
    """One revision, from both accounts."""
    return {
        "revision": revision.number,
        "when": entry.when if entry else revision.updated,
        "who": entry.who if entry else "",
        "what": list(entry.what) if entry else [revision.description],
        "outcome": entry.outcome if entry else revision.status,
        "reason": entry.reason if entry else "",
        "seconds": entry.seconds if entry else 0.0,
        "images": list(entry.images) if entry else [],
        "chart": revision.chart,
    }


def free_gpus(cluster: Cluster) -> Mapping[str, tuple[int, int]]:
    """Free and allocatable GPUs; nothing where this account may not list nodes."""
    try:
        return gpus(rooms(cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods")))
    except ClusterError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return {}
        raise
