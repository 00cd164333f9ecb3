"""`capstan logs`: the log of every replica, each line prefixed with its model and pod."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from k8s.clients.pods import DASHBOARD_PORT, Pods
from k8s.clients.process import redact
from k8s.commands.session import Session, installed_revisions, service_name
from k8s.errors import RefusedError, UnreachableError
from k8s.resources.serve import ServeApplication, ServeReplica
from k8s.resources.snapshot import Snapshot
from k8s.rollout.watch import Observer

INTERVAL_S = 2.0
FOLLOWED_LINES = 1000


@dataclass(frozen=True, slots=True)
class LogSource:
    """One log of a replica: the prefix of its lines, and the dashboard's query for it."""

    model: str
    pod: str
    head: str
    ray_cluster: str
    query: str


def logs(session: Session, model: str | None, *, follow: bool, lines: int) -> None:
    """Show the last lines of the replicas' logs; with `follow`, new lines too, until Ctrl-C.

    Raises RefusedError where no replica of the model runs.
    """
    client = session.client()
    release = session.release(client)
    pods = Pods(client)
    installed_revisions(client, release)
    observer = Observer(client, pods, service_name(release))
    printed: dict[str, list[str]] = {}
    while True:
        try:
            for source in select_model(log_sources(observer.snapshot()), model):
                count = FOLLOWED_LINES if source.query in printed else lines
                found = read_log(pods, source, observer.token(source.ray_cluster), count)
                for line in new_lines(printed.get(source.query), found):
                    _show(session, source, redact(line))
                printed[source.query] = found
        except UnreachableError as error:
            if not follow:
                raise
            session.display.say(f"{error}; retrying")
        if not follow:
            return
        time.sleep(INTERVAL_S)


def log_sources(seen: Snapshot) -> list[LogSource]:
    """Two logs of each live replica: Serve's own, and its actor's standard error."""
    found = []
    for ray_cluster, apps in seen.apps.items():
        pods = [p for p in seen.pods if p.cluster == ray_cluster]
        head = next((p.name for p in pods if p.head and p.ready), "")
        by_ip = {p.ip: p.name for p in pods}
        for name, replica in _replicas(apps):
            at = {"node_ip": replica.ip, "format": "text"}
            queries = []
            if replica.log:
                queries.append({**at, "filename": replica.log.lstrip("/")})
            if replica.actor:
                queries.append({**at, "actor_id": replica.actor, "suffix": "err"})
            pod = by_ip.get(replica.ip, replica.ip)
            found += [LogSource(name, pod, head, ray_cluster, urlencode(query)) for query in queries]
    return found


def select_model(sources: Sequence[LogSource], model: str | None) -> list[LogSource]:
    """The logs of one model, or all. Raises RefusedError where the model has no replica."""
    found = [s for s in sources if model in (None, s.model)]
    if not found:
        known = ", ".join(sorted({s.model for s in sources})) or "no model"
        raise RefusedError(f"no replica of {model or 'any model'} runs; models with replicas: {known}")
    return found


def read_log(pods: Pods, source: LogSource, token: str | None, lines: int) -> list[str]:
    """The last lines of one log, through its cluster's dashboard; empty where there is no such log."""
    headers = {"x-ray-authorization": f"Bearer {token}"} if token else {}
    path = f"/api/v0/logs/file?{source.query}&lines={lines}"
    answer = pods.request(source.head, DASHBOARD_PORT, path, headers=headers)
    return answer.body.decode(errors="replace").splitlines() if answer.status == HTTPStatus.OK else []


def new_lines(before: Sequence[str] | None, now: Sequence[str]) -> list[str]:
    """The lines after the last one that was shown before."""
    if not before:
        return list(now)
    last = before[-1]
    for index in range(len(now) - 1, -1, -1):
        if now[index] == last:
            return list(now[index + 1 :])
    return list(now)


def _show(session: Session, source: LogSource, line: str) -> None:
    value = {"model": source.model, "pod": source.pod, "line": line}
    session.display.result(value, [f"{source.model} {source.pod} | {line}"], more=True)


def _replicas(apps: Iterable[ServeApplication]) -> Iterable[tuple[str, ServeReplica]]:
    for app in apps:
        for deployment in app.deployments:
            for replica in deployment.replicas:
                yield app.name, replica
