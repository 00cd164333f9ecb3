"""The nodes that may still be added: what is read of autoscalers, and what that means for pods."""

from dataclasses import replace
from typing import Any

import pytest

from k8s.planning.autoscaling import find_autoscaling
from k8s.planning.capacity import CapacityReport, report_capacity
from k8s.planning.cluster_checks import Level, check_gpus
from k8s.planning.nodes import free_resources
from k8s.resources.node_provisioners import AutoscalerStatus, NodeGroup, NodePool
from tests.k8s.objects import Json, at, recorded, service
from tests.k8s.test_capacity import GPU, TOLERATION, busy, worker


def fit(
    count: int, *groups: NodeGroup, gpus: int = 1, pods: list[Json] | None = None, **more: Any
) -> CapacityReport:
    """The account of so many workers on the recorded nodes, of which two have two GPUs each."""
    nodes, pods = recorded("nodes"), pods or []
    grown = find_autoscaling(AutoscalerStatus(groups, **more), [], nodes, pods)
    return report_capacity([worker(count, gpus=gpus)], free_resources(nodes, pods), autoscaling=grown)


@pytest.mark.parametrize(
    ("count", "most", "fits", "lines"),
    [
        (4, 5, True, ()),
        (6, 5, True, ("node group gpu has 2 of at most 5 nodes and would add 1",)),
        (10, 5, True, ("node group gpu has 2 of at most 5 nodes and would add 3",)),
        (11, 5, False, ("node group gpu has 2 of at most 5 nodes and would add 3",)),
        (5, 2, False, ("node group gpu has 2 of at most 2 nodes",)),
        (5, 1, False, ("node group gpu has 2 of at most 1 node",)),
    ],
)
def test_group_grows_to_its_maximum(count: int, most: int, fits: bool, lines: tuple[str, ...]) -> None:
    """Pods that fit on no node are placed on new nodes of a group, of its kind, up to its maximum."""
    found = fit(count, NodeGroup("gpu", 2, most))
    assert found.fits is fits
    assert found.growth == lines


def test_numbers_of_a_error_for() -> None:
    """Beyond the maximum, the report has the pods wanted, those that fit now and later, and the limit."""
    assert fit(12, NodeGroup("gpu", 2, 5)).lines() == [
        (
            "pool gpu: 4 of 12 pods of 1 nvidia.com/gpu and 0.1 cpu each fit and 6 more on nodes that can be "
            "added; 2 nodes accept them, with 4 nvidia.com/gpu of 4 nvidia.com/gpu free"
        ),
        "node group gpu has 2 of at most 5 nodes and would add 3",
    ]


def test_other_groups_do_not_help() -> None:
    """A group whose nodes have no GPU, and one that backs off, add nothing for pods that want one."""
    found = fit(5, NodeGroup("cpu", 1, 9), NodeGroup("gpu", 2, 5, "QUOTA_EXCEEDED"))
    assert not found.fits
    assert found.growth == ("node group gpu has 2 of at most 5 nodes and cannot grow now (QUOTA_EXCEEDED)",)


def test_pod_too_large_for_a_new_node() -> None:
    """A pod that is larger than a whole node of a group fits on no new one either."""
    assert not fit(1, NodeGroup("gpu", 2, 50), gpus=3).fits


def test_daemon_sets_run_on_new_nodes_too() -> None:
    """What DaemonSets take on a group's node they take on a new one; other pods do not."""
    owned = {"metadata": {"ownerReferences": [{"kind": "DaemonSet"}]}, **busy("gpu-0", 1)}
    assert not fit(4, NodeGroup("gpu", 2, 3), gpus=2, pods=[owned]).fits
    assert fit(2, NodeGroup("gpu", 2, 3), gpus=2, pods=[{"metadata": {}, **busy("gpu-0", 1)}]).fits


def test_group_without_a_node() -> None:
    """A group that is empty now is unknown: the shortage is reported, and not refused."""
    found = fit(5, NodeGroup("gpu", 2, 2), NodeGroup("h200", 0, 4))
    assert found.fits
    assert found.lines()[-1] == (
        "node group h200 has no node now, so the size of its nodes is unknown; it can add 4"
    )
    assert not fit(5, NodeGroup("gpu", 2, 2), NodeGroup("h200", 0, 0)).fits


def test_unknown_and_silent_autoscalers() -> None:
    """An autoscaler of unknown limits may help; one that is silent does not, and the error_for says so."""
    assert fit(9, unknown="who knows").fits
    silent = fit(9, stopped="the cluster autoscaler has written no status since noon")
    assert not silent.fits
    assert silent.lines()[-1] == "the cluster autoscaler has written no status since noon"


def pool(limits: Json | None = None, used: Json | None = None, **changes: Any) -> NodePool:
    """A NodePool for GPUs, as karpenter.sh/v1 has it."""
    found: Json = {
        "metadata": {"name": "gpu"},
        "spec": {
            "template": {
                "metadata": {"labels": {"team": "vision"}},
                "spec": {
                    "taints": [{"key": GPU, "effect": "NoSchedule"}],
                    "requirements": [{"key": "pool", "operator": "In", "values": ["gpu", "big"]}],
                },
            },
            "limits": limits or {},
            **changes,
        },
        "status": {"resources": used or {}, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    return NodePool.from_api(found)


def karpenter(count: int, found: NodePool, **spec: Any) -> CapacityReport:
    nodes = recorded("nodes")
    return report_capacity(
        [worker(count, **spec)],
        free_resources(nodes, []),
        autoscaling=find_autoscaling(AutoscalerStatus(), [found], nodes, []),
    )


@pytest.mark.parametrize(
    ("count", "limits", "used", "fits"),
    [
        (7, {}, {}, True),
        (7, {GPU: "4"}, {GPU: "1"}, True),
        (8, {GPU: "4"}, {GPU: "1"}, False),
        (7, {"cpu": "16"}, {"cpu": "16"}, False),
        (7, {"memory": "1Gi"}, {"memory": "1Gi"}, True),  # The pods ask for no memory.
        (7, {"nodes": "3"}, {"nodes": "3"}, False),
        (7, {"nodes": "3"}, {"nodes": "2"}, True),
    ],
)
def test_limits_of_karpenter(count: int, limits: Json, used: Json, fits: bool) -> None:
    """Karpenter adds nodes for pods up to its pool's limits; without limits, for any number."""
    assert karpenter(count, pool(limits, used)).fits is fits


def test_numbers_of_karpenter() -> None:
    """What a NodePool would add is reported with its limits."""
    assert karpenter(6, pool({GPU: "8"}, {GPU: "4"})).growth == (
        "NodePool gpu would add nodes for 2 pods; it has 4 nvidia.com/gpu of at most 8 nvidia.com/gpu",
    )
    assert karpenter(6, pool()).growth == ("NodePool gpu would add nodes for 2 pods; it has no limit",)


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"tolerations": []}, False),
        ({"nodeSelector": {"pool": "big"}}, True),
        ({"nodeSelector": {"pool": "cpu"}}, False),
        ({"nodeSelector": {"team": "vision"}}, True),
        ({"nodeSelector": {"team": "speech"}}, False),
        ({"nodeSelector": {"topology.kubernetes.io/zone": "a"}}, True),
        ({"nodeSelector": {"karpenter.k8s.aws/instance-gpu-name": "h200"}}, True),
        ({"nodeSelector": {"shelf": "3"}}, False),
    ],
)
def test_pods_for_karpenter(spec: Json, fits: bool) -> None:
    """A NodePool creates nodes only for pods that tolerate its taints and select labels it can set."""
    assert karpenter(6, pool(), **spec).fits is fits


def test_pools_that_add_nothing() -> None:
    """A pool of a fixed number of nodes, or one that is not ready, adds none."""
    assert not karpenter(6, pool(replicas=3)).fits
    assert not karpenter(6, replace(pool(), ready=False)).fits


def test_doctor_counts_on_new_nodes() -> None:
    """The doctor misses no node that an autoscaler would add, and names what it cannot know."""
    nodes = [n for n in recorded("nodes") if "gpu" not in n["metadata"]["name"]]
    wanted = service(at("workerGroupSpecs.0.template.spec.tolerations", [TOLERATION]))
    assert Level.MISSING in {f.level for f in check_gpus(nodes, [], wanted)}
    empty = find_autoscaling(AutoscalerStatus((NodeGroup("gpu", 0, 4),)), [], nodes, [])
    assert Level.MISSING not in {f.level for f in check_gpus(nodes, [], wanted, empty)}
