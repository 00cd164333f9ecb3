"""Making a plan: what is rendered, what runs, what that means, and whether there is room. Changes nothing."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from k8s.doors.cluster import RAY, Cluster
from k8s.doors.release import Release, Values, last_deployed, stuck
from k8s.errors import ClusterError, RefusedError, UsageError
from k8s.rollout.room import room_for
from k8s.rules.change import Plan
from k8s.rules.classify import classify
from k8s.rules.headroom import Account
from k8s.rules.proposal import Proposal
from k8s.rules.ray_cluster import same_cluster
from k8s.rules.wants import more, wants

Json = dict[str, Any]


def propose(cluster: Cluster, release: Release, chart: Path, values: Values) -> Proposal:
    """What a deploy with these values would do.

    Raises RefusedError where KubeRay is missing, and what the doors raise.
    """
    require_kuberay(cluster)
    rendered = release.render(chart, values)
    history = release.history()
    installed = (
        [] if stuck(history) and last_deployed(history) is None else release.manifest(last_deployed(history))
    )
    return compare(cluster, installed, rendered)


def compare(cluster: Cluster, installed: list[Json], rendered: list[Json]) -> Proposal:
    """What turning the installed objects into the rendered ones would do."""
    wanted = ray_service(rendered)
    if wanted is None:
        raise UsageError("the chart renders no RayService; is --chart the chart of Capstan?")
    name = wanted["metadata"]["name"]
    before = cluster.find(f"{cluster.ray}/rayservices/{name}")
    after = _after(cluster, ray_service(installed), wanted, before)
    active = serving_cluster(cluster, before)
    plan = classify(before, after, active)
    return Proposal(
        plan,
        before,
        after,
        active,
        other_changes(installed, rendered),
        _account(cluster, plan, after, active),
    )


def ray_service(objects: list[Json]) -> Json | None:
    """The RayService among objects."""
    return next((o for o in objects if o.get("kind") == "RayService"), None)


def serving_cluster(cluster: Cluster, service: Json | None) -> Json | None:
    """The RayCluster that serves a RayService now, if there is one."""
    status = ((service or {}).get("status") or {}).get("activeServiceStatus") or {}
    name = status.get("rayClusterName")
    return cluster.find(f"{cluster.ray}/rayclusters/{name}") if name else None


def merge_patch(before: Any, after: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """The JSON merge patch (RFC 7386) between two values, as Helm makes it for custom resources."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    found: Json = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        if key not in before:
            found[key] = value
        elif before[key] != value:
            found[key] = merge_patch(before[key], value)
    return found


def other_changes(installed: list[Json], rendered: list[Json]) -> tuple[str, ...]:
    """The objects beside the RayService that come, go or change."""
    old = {_key(o): o for o in installed if o.get("kind") != "RayService"}
    new = {_key(o): o for o in rendered if o.get("kind") != "RayService"}
    # Helm hides what a Secret holds, so a Secret's change cannot be seen here.
    return tuple(
        f"{key}: {'added' if key not in old else 'removed' if key not in new else 'changed'}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not (key.startswith("Secret ") and key in old and key in new)
    )


def require_kuberay(cluster: Cluster) -> None:
    """Raise RefusedError where the cluster does not know RayServices."""
    try:
        cluster.get(f"{RAY}/namespaces/{cluster.namespace}/rayservices", limit="1")
    except ClusterError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise RefusedError(
                "KubeRay is not installed: the cluster knows no RayService (ray.io/v1); install it with "
                "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
            ) from None
        raise


def _after(cluster: Cluster, installed: Json | None, wanted: Json, live: Json | None) -> Json:
    """The RayService as the API server would store it, with its defaults filled in."""
    if live is None and cluster.find(f"/api/v1/namespaces/{cluster.namespace}") is None:
        return wanted  # A dry run needs a namespace; deploy makes it.
    if live is None:
        body = {**wanted, "metadata": {**wanted["metadata"], "namespace": cluster.namespace}}
        return cluster.create(f"{cluster.ray}/rayservices", body, dry_run=True)
    patch = merge_patch(installed or live, wanted)
    patch = {k: v for k, v in patch.items() if k in ("spec", "metadata")}
    # A rollout that died may have left the strategy frozen (see restore.py); deploying sets it right.
    patch.setdefault("spec", {})["upgradeStrategy"] = wanted["spec"].get("upgradeStrategy")
    return cluster.patch(f"{cluster.ray}/rayservices/{wanted['metadata']['name']}", patch, dry_run=True)


def _account(cluster: Cluster, plan: Plan, after: Json, active: Json | None) -> Account | None:
    wanted = after["spec"]["rayClusterConfig"]
    returns = active is not None and same_cluster(active["spec"], wanted)
    if plan.new_cluster and not returns:
        return room_for(cluster, wants(wanted))
    if active is not None:
        added = more(active["spec"], wanted)
        return room_for(cluster, added) if added else Account()
    return Account()


def _key(found: Json) -> str:
    return f"{found.get('kind')} {found['metadata']['name']}"
