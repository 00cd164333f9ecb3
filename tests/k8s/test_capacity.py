"""Whether a second cluster fits, on the recorded nodes."""

import copy
from typing import Any

import pytest

from k8s.planning.capacity import report_capacity
from k8s.planning.nodes import accepts, free_resources
from k8s.resources.quantity import GPU_RESOURCES, format_amount, pod_requests, quantity
from k8s.resources.rayservice import PodDemand, added_demand, pod_demand
from tests.k8s.objects import Json, at, recorded, service

GPU = GPU_RESOURCES[0]
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}


def worker(count: int, *, gpus: int = 1, cpu: float = 0.1, **spec: Any) -> PodDemand:
    return PodDemand("gpu", count, {GPU: float(gpus), "cpu": cpu}, {"tolerations": [TOLERATION], **spec})


def busy(node: str, gpus: int, phase: str = "Running") -> Json:
    container = {"name": "x", "resources": {"limits": {GPU: str(gpus)}}}
    return {"spec": {"nodeName": node, "containers": [container]}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("2", 2.0), ("4Gi", 4 * 2**30), ("1.5G", 1.5e9), (3, 3.0), ("100Ki", 102400.0)],
)
def test_quantity(text: str | int, value: float) -> None:
    """Quantities of Kubernetes are read with their units."""
    assert quantity(text) == pytest.approx(value)


def test_needs_of_init_containers() -> None:
    """A pod needs the sum of its containers, or what its greediest init container needs, if that is more."""
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "500m"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
    }
    assert pod_requests(spec) == {"cpu": 2.0}


def test_demand_of_the_recorded_service() -> None:
    """The recorded service needs a head and two workers with a GPU each."""
    found = {
        w.group: (w.count, w.each.get(GPU, 0)) for w in pod_demand(service()["spec"]["rayClusterConfig"])
    }
    assert found == {"head": (1, 0), "gpu": (2, 1.0)}


def test_autoscaler_in_the_head_pod() -> None:
    """Where Ray's autoscaler runs, the head's pod needs what KubeRay gives it."""
    plain = pod_demand(service()["spec"]["rayClusterConfig"])[0].each["cpu"]
    scaled = pod_demand(service(at("enableInTreeAutoscaling", value=True))["spec"]["rayClusterConfig"])[
        0
    ].each["cpu"]
    assert scaled == pytest.approx(plain + 0.5)


def test_more_workers_only() -> None:
    """Growing a pool needs only the pods that come."""
    before = service(at("workerGroupSpecs.0.replicas", 1))
    at("workerGroupSpecs.0.minReplicas", 1)(before)
    found = added_demand(before["spec"]["rayClusterConfig"], service()["spec"]["rayClusterConfig"])
    assert [(w.group, w.count) for w in found] == [("gpu", 1)]


@pytest.mark.parametrize(
    ("count", "gpus", "used", "fits"),
    [
        (2, 1, 0, True),
        (4, 1, 0, True),
        (5, 1, 0, False),
        (2, 2, 0, True),
        (1, 3, 0, False),  # Four are free, but no node has three.
        (2, 1, 1, True),
        (2, 2, 1, False),  # Three are free, on two nodes: one pod of two fits.
    ],
)
def test_gpus(count: int, gpus: int, used: int, fits: bool) -> None:
    """Pods fit where each finds a node with enough GPUs that are neither taken nor elsewhere."""
    pods = [busy("gpu-0", used)] if used else []
    assert report_capacity([worker(count, gpus=gpus)], free_resources(recorded("nodes"), pods)).fits is fits


def test_numbers_in_the_message() -> None:
    """What does not fit is reported with the pods wanted, the pods that fit, and the GPUs free and total."""
    found = report_capacity([worker(3, gpus=2)], free_resources(recorded("nodes"), [busy("gpu-1", 1)]))
    assert found.lines() == [
        (
            "pool gpu: 1 of 3 pods of 2 nvidia.com/gpu and 0.1 cpu each fit; "
            "2 nodes accept them, with 3 nvidia.com/gpu of 4 nvidia.com/gpu free"
        )
    ]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_ended_pods_free_their_resources(phase: str) -> None:
    """A pod that has ended uses nothing."""
    assert report_capacity([worker(4)], free_resources(recorded("nodes"), [busy("gpu-0", 2, phase)])).fits


def test_taints() -> None:
    """A node with a taint takes only pods that tolerate it."""
    bare = PodDemand("gpu", 1, {GPU: 1.0}, {})
    found = report_capacity([bare], free_resources(recorded("nodes"), []))
    assert not found.fits
    assert found.shortages[0].nodes == 0


def node(name: str) -> Json:
    return next(n for n in recorded("nodes") if n["metadata"]["name"] == name)


@pytest.mark.parametrize(
    ("spec", "ok"),
    [
        ({"nodeSelector": {"pool": "gpu"}}, True),
        ({"nodeSelector": {"pool": "cpu"}}, False),
        ({"tolerations": []}, False),
        ({"tolerations": [{"operator": "Exists"}]}, True),
        ({"tolerations": [{"key": GPU, "value": "present"}]}, True),
        ({"tolerations": [{"key": GPU, "value": "other"}]}, False),
        ({"tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoExecute"}]}, False),
    ],
)
def test_who_may_run_on_a_gpu_node(spec: Json, ok: bool) -> None:
    """A node takes a pod whose selector it matches and who tolerates its taints."""
    node_capacity = free_resources([node("gpu-0")], [])[0]
    assert accepts(node_capacity, {"tolerations": [TOLERATION], **spec}) is ok


@pytest.mark.parametrize(
    ("operator", "values", "ok"),
    [
        ("In", ["gpu", "x"], True), ("In", ["x"], False), ("NotIn", ["gpu"], False), ("NotIn", ["x"], True),
        ("Exists", None, True), ("DoesNotExist", None, False),
    ],
)  # fmt: skip
def test_node_affinity(operator: str, values: list[str] | None, ok: bool) -> None:
    """Required node affinity decides like a selector."""
    expression = {"key": "pool", "operator": operator, **({"values": values} if values else {})}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    spec = {
        "tolerations": [TOLERATION],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
    }
    assert accepts(free_resources([node("gpu-0")], [])[0], spec) is ok


def test_cordoned_and_sick_nodes() -> None:
    """A node that is cordoned or not ready takes no pods."""
    nodes = copy.deepcopy(recorded("nodes"))
    nodes[1]["spec"]["unschedulable"] = True
    nodes[2]["status"]["conditions"][0]["status"] = "Unknown"
    assert [r.name for r in free_resources(nodes, [])] == ["cpu-0"]


def test_quota() -> None:
    """A quota that a rollout would exceed is reported with its numbers."""
    quota = {
        "metadata": {"name": "team"},
        "status": {"hard": {f"requests.{GPU}": "3"}, "used": {f"requests.{GPU}": "2"}},
    }
    found = report_capacity([worker(2)], free_resources(recorded("nodes"), []), [quota])
    assert not found.fits
    assert found.lines() == [
        "quota team: 2 nvidia.com/gpu more needed, 2 nvidia.com/gpu of 3 nvidia.com/gpu used"
    ]


@pytest.mark.parametrize(
    "spec",
    [{"scopes": ["BestEffort"]}, {"scopeSelector": {"matchExpressions": []}}],
    ids=["scopes", "selector"],
)
def test_a_quota_for_some_pods_is_not_counted(spec: dict[str, Any]) -> None:
    """A quota with a scope, as for a PriorityClass, does not refuse pods that it may not count."""
    quota = {"metadata": {"name": "team"}, "spec": spec, "status": {"hard": {"pods": "0"}, "used": {}}}
    assert report_capacity([worker(2)], free_resources(recorded("nodes"), []), [quota]).fits


@pytest.mark.parametrize(
    ("key", "hard", "used", "fits"),
    [
        ("limits.memory", "8Gi", "4Gi", True),
        ("limits.memory", "8Gi", "5Gi", False),
        ("limits.cpu", "1", "0", True),  # No limit on CPUs is asked for.
        ("count/pods", "3", "1", True),
        ("pods", "3", "2", False),
        ("requests.cpu", "1", "900m", False),
    ],
)
def test_kinds_of_quotas(key: str, hard: str, used: str, fits: bool) -> None:
    """Quotas on requests, on limits and on the number of pods are all counted."""
    quota = {"metadata": {"name": "team"}, "status": {"hard": {key: hard}, "used": {key: used}}}
    container = {"resources": {"limits": {"memory": "2Gi"}}}
    wanted = [worker(2, containers=[container])]
    assert report_capacity(wanted, free_resources(recorded("nodes"), []), [quota]).fits is fits


def test_pod_limit_of_a_node() -> None:
    """A node takes no more pods than it may run."""
    small = copy.deepcopy(node("cpu-0"))
    small["status"]["allocatable"]["pods"] = "1"
    assert not report_capacity([PodDemand("head", 2, {"cpu": 0.1}, {})], free_resources([small], [])).fits


def test_amounts() -> None:
    """Amounts are formatted in units that people read."""
    assert format_amount("memory", 4 * 2**30) == "4.0 GiB memory"
    assert format_amount("cpu", 0.5) == "0.5 cpu"
