"""`capstan logs`: the log of every replica, each line behind its model and pod."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from k8s.commands.session import Session
from k8s.doors.pods import DASHBOARD_PORT, Pods
from k8s.doors.process import redact
from k8s.errors import RefusedError, UnreachableError
from k8s.rollout.installed import revisions, service_name
from k8s.rollout.observe import Observer
from k8s.state.serve import App, Replica
from k8s.state.snapshot import Snapshot

INTERVAL_S = 2.0
FOLLOWED_LINES = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """One log of a replica: what its lines begin with, and how the dashboard on the head finds it."""

    model: str
    pod: str
    head: str
    cluster: str
    query: str


def logs(session: Session, model: str | None, *, follow: bool, lines: int) -> None:
    """Show the last lines of the replicas' logs; with `follow`, and what comes, until Ctrl-C.

    Raises RefusedError where no replica of the model runs.
    """
    cluster = session.cluster()
    release = session.release(cluster)
    pods = Pods(cluster)
    revisions(cluster, release)
    observer = Observer(cluster, pods, service_name(release))
    printed: dict[str, list[str]] = {}
    while True:
        try:
            seen = observer.snapshot()
            sources = choose(sources_of(seen), model)
            for source in sources:
                wanted = FOLLOWED_LINES if source.query in printed else lines
                found = read(pods, source, observer.token(source.cluster), wanted)
                for line in fresh(printed.get(source.query), found):
                    said = redact(line)
                    session.display.result(
                        {"model": source.model, "pod": source.pod, "line": said},
                        [f"{source.model} {source.pod} | {said}"],
                        more=True,
                    )
                printed[source.query] = found
        except UnreachableError as error:
            if not follow:
                raise
            session.display.say(f"{error}; trying again")
        if not follow:
            return
        time.sleep(INTERVAL_S)


def sources_of(seen: Snapshot) -> list[Source]:
    """The logs of all replicas that live: Serve's own of each, and what it wrote to standard error."""
    found = []
    for cluster, apps in seen.apps.items():
        pods = [p for p in seen.pods if p.cluster == cluster]
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
            found += [Source(name, pod, head, cluster, urlencode(query)) for query in queries]
    return found


def choose(sources: Sequence[Source], model: str | None) -> list[Source]:
    """The logs of one model, or all. Raises RefusedError where the model has no replica."""
    chosen = [s for s in sources if model in (None, s.model)]
    if not chosen:
        known = ", ".join(sorted({s.model for s in sources})) or "no model"
        raise RefusedError(f"no replica of {model or 'any model'} runs; there are replicas of: {known}")
    return chosen


def read(pods: Pods, source: Source, token: str | None, lines: int) -> list[str]:
    """The last lines of one log, through the dashboard of its cluster; none where there is no such log."""
    headers = {"x-ray-authorization": f"Bearer {token}"} if token else {}
    path = f"/api/v0/logs/file?{source.query}&lines={lines}"
    answer = pods.request(source.head, DASHBOARD_PORT, path, headers=headers)
    return answer.body.decode(errors="replace").splitlines() if answer.status == HTTPStatus.OK else []


def fresh(before: Sequence[str] | None, now: Sequence[str]) -> list[str]:
    """The lines that were not there before: those after the last one already shown."""
    if not before:
        return list(now)
    last = before[-1]
    for index in range(len(now) - 1, -1, -1):
        if now[index] == last:
            return list(now[index + 1 :])
    return list(now)


def _replicas(apps: Iterable[App]) -> Iterable[tuple[str, Replica]]:
    for app in apps:
        for deployment in app.deployments:
            for replica in deployment.replicas:
                yield app.name, replica
