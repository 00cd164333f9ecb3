"""Proposing a rollout: what is rendered, what runs, what the difference does, and whether it fits.

Nothing here changes the cluster.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from k8s.clients.helm import Release, Values, last_deployed, stuck
from k8s.clients.kubernetes import RAY, KubernetesClient
from k8s.errors import INSTALL_KUBERAY, ClusterError, RefusedError, UsageError
from k8s.planning.autoscaling import Autoscaling, find_autoscaling
from k8s.planning.capacity import CapacityReport, report_capacity
from k8s.planning.cluster_checks import operator_mismatches, operator_version
from k8s.planning.diff import merge_patch
from k8s.planning.effects import classify, same_cluster
from k8s.planning.nodes import free_resources
from k8s.planning.plan import Plan
from k8s.planning.proposal import Proposal
from k8s.planning.verdict import HOLD
from k8s.resources.node_provisioners import AutoscalerStatus, NodePool, autoscaler_status
from k8s.resources.rayservice import PodDemand, active_cluster, added_demand, pod_demand, serve_applications

Json = dict[str, Any]

AUTOSCALER = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
DEPLOYMENTS = "/apis/apps/v1/deployments"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"


def propose(client: KubernetesClient, release: Release, chart: Path, values: Values) -> Proposal:
    """What a deploy with these values would do. Raises RefusedError where KubeRay is missing."""
    require_kuberay(client)
    rendered = release.render(chart, values)
    history = release.history()
    never_deployed = stuck(history) and last_deployed(history) is None
    installed = [] if never_deployed else release.manifest(last_deployed(history))
    return propose_change(client, installed, rendered)


def propose_change(client: KubernetesClient, installed: list[Json], rendered: list[Json]) -> Proposal:
    """What replacing the installed objects with the rendered ones would do."""
    wanted = ray_service(rendered)
    if wanted is None:
        raise UsageError("the chart renders no RayService; is --chart the chart of Capstan?")
    before = client.find(f"{client.ray}/rayservices/{wanted['metadata']['name']}")
    after = _stored(client, ray_service(installed), wanted, before)
    active = serving_cluster(client, before)
    plan = classify(before, after, active)
    objects = other_changes(installed, rendered)
    capacity = _capacity(client, plan, after, active)
    return Proposal(plan, before, after, active, objects, capacity, _operator_warnings(client, active))


def ray_service(objects: list[Json]) -> Json | None:
    """The RayService among objects."""
    return next((o for o in objects if o.get("kind") == "RayService"), None)


def serving_cluster(client: KubernetesClient, service: Json | None) -> Json | None:
    """The RayCluster that serves a RayService now, or None."""
    name = active_cluster(service)
    return client.find(f"{client.ray}/rayclusters/{name}") if name else None


def other_changes(installed: list[Json], rendered: list[Json]) -> tuple[str, ...]:
    """The objects other than the RayService that are added, removed or changed."""
    old = {_key(o): o for o in installed if o.get("kind") != "RayService"}
    new = {_key(o): o for o in rendered if o.get("kind") != "RayService"}
    # Helm hides the content of Secrets, so a change of one is invisible here.
    return tuple(
        f"{key}: {'added' if key not in old else 'removed' if key not in new else 'changed'}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not (key.startswith("Secret ") and key in old and key in new)
    )


def require_kuberay(client: KubernetesClient) -> None:
    """Raise RefusedError where the API server does not know RayServices."""
    try:
        client.get(f"{RAY}/namespaces/{client.namespace}/rayservices", limit="1")
    except ClusterError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise RefusedError(
                f"KubeRay is not installed: the cluster has no RayService (ray.io/v1); install it with "
                f"{INSTALL_KUBERAY}"
            ) from None
        raise


def measure_capacity(client: KubernetesClient, demands: list[PodDemand]) -> CapacityReport | None:
    """Whether pods fit on the cluster; None where this account may not list nodes."""
    try:
        nodes, pods = client.items("/api/v1/nodes"), client.items("/api/v1/pods")
        quotas = client.items(f"{client.core}/resourcequotas")
    except ClusterError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    autoscaling = read_autoscaling(client, nodes, pods)
    return report_capacity(demands, free_resources(nodes, pods), quotas, autoscaling)


def read_autoscaling(client: KubernetesClient, nodes: list[Json], pods: list[Json]) -> Autoscaling:
    """What can add nodes; what this account may not read counts as absent, with a note."""
    hidden = []
    try:
        status = autoscaler_status(client.find(AUTOSCALER), datetime.now(UTC))
    except ClusterError:
        status = AutoscalerStatus()
        hidden.append("the cluster autoscaler (get on ConfigMap cluster-autoscaler-status in kube-system)")
    try:
        found = client.find(NODE_POOLS) or {}
    except ClusterError:
        found = {}
        hidden.append("Karpenter (list on nodepools.karpenter.sh)")
    autoscaling = find_autoscaling(status, map(NodePool.from_api, found.get("items") or []), nodes, pods)
    if hidden:
        note = f"this account may not read the state of {' and of '.join(hidden)}"
        autoscaling.useless = (*autoscaling.useless, note)
    return autoscaling


def _stored(client: KubernetesClient, installed: Json | None, wanted: Json, live: Json | None) -> Json:
    """The RayService as the API server would store it, with defaults."""
    if live is None and not client.has_namespace():
        return wanted  # A dry run needs the namespace, which deploy creates.
    if live is None:
        body = {**wanted, "metadata": {**wanted["metadata"], "namespace": client.namespace}}
        return client.create(f"{client.ray}/rayservices", body, dry_run=True)
    patch = merge_patch(installed or live, wanted)
    patch = {k: v for k, v in patch.items() if k in ("spec", "metadata")}
    # A rollout that died may have left the strategy frozen (teardown.py), or the switch
    # held (hold.py); a deploy restores both.
    patch.setdefault("spec", {})["upgradeStrategy"] = wanted["spec"].get("upgradeStrategy")
    if HOLD in serve_applications(live):
        patch["spec"]["serveConfigV2"] = wanted["spec"].get("serveConfigV2")
    return client.patch(f"{client.ray}/rayservices/{wanted['metadata']['name']}", patch, dry_run=True)


def _capacity(
    client: KubernetesClient, plan: Plan, after: Json, active: Json | None
) -> CapacityReport | None:
    wanted = after["spec"]["rayClusterConfig"]
    returns = active is not None and same_cluster(active["spec"], wanted)
    if plan.new_cluster and not returns:
        return measure_capacity(client, pod_demand(wanted))
    added = added_demand(active["spec"], wanted) if active is not None else []
    return measure_capacity(client, added) if added else CapacityReport()


def _operator_warnings(client: KubernetesClient, active: Json | None) -> tuple[str, ...]:
    """What an operator of another version does to the serving RayCluster; empty where it is not visible."""
    if active is None:
        return ()
    try:
        deployments = client.items(DEPLOYMENTS)
    except ClusterError:
        return ()
    tags = filter(None, map(operator_version, deployments))
    return tuple(operator_mismatches(next(tags, ""), [active]))


def _key(found: Json) -> str:
    return f"{found.get('kind')} {found['metadata']['name']}"
