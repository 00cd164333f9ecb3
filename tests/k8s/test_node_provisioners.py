"""What a cluster autoscaler says of its node groups, and which nodes are theirs."""

from datetime import UTC, datetime

import pytest

from k8s.planning.autoscaling import example_nodes
from k8s.resources.node_provisioners import AutoscalerStatus, NodeGroup, autoscaler_status
from tests.k8s.objects import Json

NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)

# Both forms as cluster-autoscaler/clusterstate/utils/status.go writes them, of 1.36 and of 1.29.
YAML_STATUS = """\
time: "2026-11-21 12:00:19.546750398 +0000 UTC"
autoscalerStatus: Running
clusterWide:
  health:
    status: Healthy
    nodeCounts:
      registered: {total: 3, ready: 3, notStarted: 0, suspended: 0}
      longUnregistered: 0
      unregistered: 0
  scaleUp: {status: NoActivity}
  scaleDown: {status: NoCandidates}
nodeGroups:
- name: gpu
  health:
    status: Healthy
    nodeCounts:
      registered: {total: 2, ready: 2, notStarted: 0, suspended: 0}
      longUnregistered: 0
      unregistered: 0
    cloudProviderTarget: 2
    minSize: 0
    maxSize: 5
    lastProbeTime: "2026-11-21T12:00:19Z"
  scaleUp: {status: NoActivity}
- name: cpu
  health: {status: Healthy, cloudProviderTarget: 1, minSize: 1, maxSize: 3}
  scaleUp:
    status: Backoff
    backoffInfo: {errorCode: QUOTA_EXCEEDED, errorMessage: "Quota 'CPUS' exceeded. Limit: 57.0"}
"""
TEXT_STATUS = """\
Cluster-autoscaler status at 2026-11-21 12:00:19.546750398 +0000 UTC:
Cluster-wide:
  Health:      Healthy (ready=3 unready=0 (resourceUnready=0) notStarted=0 longNotStarted=0 registered=3 longUnregistered=0)
               LastProbeTime:      2026-11-21 12:00:19.14 +0000 UTC m=+33.95
               LastTransitionTime: 2026-11-21 11:50:19.14 +0000 UTC m=+33.95
  ScaleUp:     NoActivity (ready=3 registered=3)
               LastProbeTime:      2026-11-21 12:00:19.14 +0000 UTC m=+33.95
               LastTransitionTime: 2026-11-21 11:50:19.14 +0000 UTC m=+33.95

NodeGroups:
  Name:        gpu
  Health:      Healthy (ready=2 unready=0 (resourceUnready=0) notStarted=0 longNotStarted=0 registered=2 longUnregistered=0 cloudProviderTarget=2 (minSize=0, maxSize=5))
               LastProbeTime:      2026-11-21 12:00:19.14 +0000 UTC m=+33.95
  ScaleUp:     NoActivity (ready=2 cloudProviderTarget=2)
               LastProbeTime:      2026-11-21 12:00:19.14 +0000 UTC m=+33.95

  Name:        cpu
  Health:      Healthy (ready=1 unready=0 (resourceUnready=0) notStarted=0 longNotStarted=0 registered=1 longUnregistered=0 cloudProviderTarget=1 (minSize=1, maxSize=3))
  ScaleUp:     Backoff (ready=1 cloudProviderTarget=1)
"""  # noqa: E501 - as it is written


def config_map(status: str, stamp: str = "2026-11-21 12:00:19.5467 +0000 UTC") -> Json:
    annotations = {"cluster-autoscaler.kubernetes.io/last-updated": stamp}
    return {"metadata": {"annotations": annotations}, "data": {"status": status}}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (YAML_STATUS, "QUOTA_EXCEEDED: Quota 'CPUS' exceeded. Limit: 57.0"),
        (TEXT_STATUS, "a recent scale-up failed"),
    ],
)
def test_both_forms_of_the_status(status: str, why: str) -> None:
    """The YAML of today and the text of old give the same groups; one that backs off has no node to spare."""
    found = autoscaler_status(config_map(status), NOW)
    assert found == AutoscalerStatus((NodeGroup("gpu", 2, 5), NodeGroup("cpu", 1, 3, why)))
    assert [g.spare for g in found.groups] == [3, 0]


@pytest.mark.parametrize(
    "status",
    [
        "", "nonsense", "[", "autoscalerStatus: Initializing\n",
        "autoscalerStatus: Running\nnodeGroups: [{name: gpu, health: {maxSize: 3}}]\n",
        TEXT_STATUS.replace("maxSize", "most"),
    ],
)  # fmt: skip
def test_unknown_limits(status: str) -> None:
    """A status that cannot be read, or that begins only, leaves the limits unknown."""
    assert autoscaler_status(config_map(status), NOW) == AutoscalerStatus(
        unknown="a cluster autoscaler runs, but its limits are unknown"
    )


def test_silent_autoscaler() -> None:
    """An autoscaler that has not written for ten minutes is not waited for."""
    found = autoscaler_status(config_map(YAML_STATUS, "2026-11-21 11:49:00.1 +0000 UTC"), NOW)
    assert found == AutoscalerStatus(
        stopped="the cluster autoscaler has written no status since 2026-11-21 11:49:00"
    )
    assert autoscaler_status(None, NOW) == AutoscalerStatus()


def node(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": {k.replace("__", "/"): v for k, v in labels.items()}}}


GKE = "https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/"


@pytest.mark.parametrize(
    ("group", "found"),
    [
        (f"{GKE}gke-c-gpu-1a2b3c4d-grp", node("gke-c-gpu-1a2b3c4d-x7k2")),
        ("aks-gpu-12345678-vmss", node("aks-gpu-12345678-vmss00000b")),
        (
            "eks-gpu-6ac1b2c3-0d1e-2f3a-4b5c-6d7e8f9a0b1c",
            node("ip-10-0-1-7.ec2.internal", **{"eks.amazonaws.com__nodegroup": "gpu"}),
        ),
        (
            "eksctl-c-nodegroup-gpu-NodeGroup-1ABCDEF",
            node("ip-10-0-1-7", **{"alpha.eksctl.io__nodegroup-name": "gpu"}),
        ),
        ("MachineDeployment/fleet/c-md-gpu", node("c-md-gpu-5d8f7-x2x4z")),
        ("gpu", node("pool-x-1", **{"doks.digitalocean.com__node-pool": "gpu"})),
    ],
)
def test_whose_node_it_is(group: str, found: Json) -> None:
    """A node is known for a group's by its name or its labels, as the clouds give them."""
    assert example_nodes([NodeGroup(group, 1, 2)], [node("other-1"), found]) == {group: found}


def test_groups_with_like_names() -> None:
    """A node belongs to the group with the longer name, and a zone without nodes is like its sisters."""
    small, large = NodeGroup("gpu", 1, 2), NodeGroup("gpu-large", 1, 2)
    assert example_nodes([small, large], [node("gpu-large-1")]) == {"gpu-large": node("gpu-large-1")}
    zones = [NodeGroup(f"{GKE}gke-c-gpu-{zone}-grp", 0, 3) for zone in ("1a2b3c4d", "5e6f7a8b")]
    seen = node("gke-c-gpu-1a2b3c4d-x7k2")
    assert example_nodes(zones, [seen]) == {zone.name: seen for zone in zones}
