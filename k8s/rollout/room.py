"""Reading the room there is: nodes, pods, quotas, and what may add nodes."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from k8s.doors.cluster import Cluster
from k8s.errors import ClusterError
from k8s.rules.growth import Growth, growth
from k8s.rules.headroom import Account, account
from k8s.rules.nodes import rooms
from k8s.rules.wants import Want
from k8s.state.autoscaler import Report, report
from k8s.state.karpenter import NodePool

Json = dict[str, Any]

AUTOSCALER = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"


def room_for(cluster: Cluster, wanted: list[Want]) -> Account | None:
    """Whether pods fit on the cluster, or None where this account may not list nodes."""
    try:
        nodes, pods = cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods")
        quotas = cluster.items(f"{cluster.core}/resourcequotas")
    except ClusterError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    return account(wanted, rooms(nodes, pods), quotas, growth_of(cluster, nodes, pods))


def growth_of(cluster: Cluster, nodes: list[Json], pods: list[Json]) -> Growth:
    """What may add nodes to the cluster; what this account may not read counts as absent, and is said."""
    hidden = []
    try:
        said = report(cluster.find(AUTOSCALER), datetime.now(UTC))
    except ClusterError:
        said = Report()
        hidden.append("a cluster autoscaler (get on ConfigMap cluster-autoscaler-status in kube-system)")
    try:
        found = cluster.find(NODE_POOLS) or {}
    except ClusterError:
        found = {}
        hidden.append("Karpenter (list on nodepools.karpenter.sh)")
    grown = growth(said, map(NodePool.from_api, found.get("items") or []), nodes, pods)
    if hidden:
        grown.useless += (f"this account may not see whether nodes are added by {' or by '.join(hidden)}",)
    return grown
