"""What is patched, what is set, and what waits for an answer."""

import copy
from typing import Any

import pytest

from k8s.commands.deploying import named, replaces, scaling
from k8s.errors import RefusedError, UnreachableError, UsageError
from k8s.rollout.active import idle_pods, patched
from k8s.rollout.insist import insist
from k8s.rollout.plan import merge_patch, other_changes
from k8s.rollout.watch import Clock
from k8s.rules.change import Plan
from k8s.rules.classify import classify
from k8s.rules.goal import goal_of, pools_of
from k8s.rules.headroom import Account
from k8s.rules.proposal import Proposal, check_room
from tests.rollout.objects import Json, at, service
from tests.rollout.test_watch import Time, World

POOL = "workerGroupSpecs.0"


def cluster(**fields: Any) -> Json:
    """The recorded cluster's spec, with fields of its pool changed."""
    spec = copy.deepcopy(service()["spec"]["rayClusterConfig"])
    spec["workerGroupSpecs"][0].update(fields)
    return spec


def test_growing_pool_is_patched_first() -> None:
    """A pool that grows is patched before Serve wants the room, and old names of pods go."""
    has = cluster(replicas=1, minReplicas=1, maxReplicas=1, scaleStrategy={"workersToDelete": ["gone"]})
    found = patched(has, cluster(replicas=3, minReplicas=3, maxReplicas=3), shrink=False, idle={})
    assert found is not None
    group = found["workerGroupSpecs"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    assert "scaleStrategy" not in group


def test_shrinking_pool_waits() -> None:
    """A pool that shrinks is left alone until Serve has taken its replicas away."""
    has = cluster(replicas=3, minReplicas=3, maxReplicas=3)
    assert patched(has, cluster(replicas=1, minReplicas=1, maxReplicas=1), shrink=False, idle={}) is None


def test_shrinking_names_idle_pods() -> None:
    """A pool that shrinks names the pods without a replica, no more than must go."""
    has, wanted = cluster(replicas=3), cluster(replicas=1, minReplicas=1, maxReplicas=1)
    found = patched(has, wanted, shrink=True, idle={"gpu": ["a", "b", "c"]})
    assert found is not None
    assert found["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": ["a", "b"]}


def test_autoscaled_pool_keeps_its_number() -> None:
    """Where Ray's autoscaler runs, only the bounds are patched."""
    wanted = {**cluster(replicas=5, maxReplicas=9), "enableInTreeAutoscaling": True}
    found = patched(cluster(replicas=3, maxReplicas=3), wanted, shrink=True, idle={})
    assert found is not None
    assert found["workerGroupSpecs"][0]["replicas"] == 3
    assert found["workerGroupSpecs"][0]["maxReplicas"] == 9


def test_tolerations_are_patched() -> None:
    """Tolerations of pools and of the head are carried over."""
    wanted = service(at(f"{POOL}.template.spec.tolerations", [{"operator": "Exists"}]))
    at("headGroupSpec.template.spec.tolerations", [{"key": "a"}])(wanted)
    found = patched(cluster(), wanted["spec"]["rayClusterConfig"], shrink=False, idle={})
    assert found is not None
    assert found["workerGroupSpecs"][0]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert found["headGroupSpec"]["template"]["spec"]["tolerations"] == [{"key": "a"}]


def test_equal_clusters_need_no_patch() -> None:
    """A RayCluster that is as wanted is not patched."""
    assert patched(cluster(), cluster(), shrink=True, idle={"gpu": ["a"]}) is None


def test_idle_pods() -> None:
    """A worker is idle when no replica has its address."""
    world = World()
    world.worker()["status"]["podIP"] = "10.88.9.9"
    assert world.worker()["metadata"]["name"] in idle_pods(world.snapshot())["gpu"]
    assert idle_pods(None) == {}


@pytest.mark.parametrize(
    ("replicas", "bounds", "pairs"),
    [
        (3, (None, None), [("models.main.replicas", 3), ("models.main.autoscaling", None)]),
        (
            None, (1, 4),
            [("models.main.replicas", None), ("models.main.autoscaling.minReplicas", 1),
             ("models.main.autoscaling.maxReplicas", 4)],
        ),
    ],
)  # fmt: skip
def test_scaling(replicas: int | None, bounds: tuple[int | None, int | None], pairs: list[Any]) -> None:
    """Scaling sets a fixed number or bounds, and takes the other away."""
    assert list(scaling({"models": {"main": {}}}, "main", replicas, bounds)) == pairs


@pytest.mark.parametrize(
    ("model", "replicas", "bounds"),
    [
        ("other", 1, (None, None)),
        ("main", None, (None, None)),
        ("main", None, (1, None)),
        ("main", 2, (1, 3)),
        ("main", None, (4, 2)),
    ],
)
def test_scaling_refused(model: str, replicas: int | None, bounds: tuple[int | None, int | None]) -> None:
    """Scaling a model that is not there, or to numbers that make no sense, is refused."""
    with pytest.raises(UsageError):
        scaling({"models": {"main": {}}}, model, replicas, bounds)


def test_default_model_is_named_in_full() -> None:
    """The chart's default model, which no values name, keeps its pool and its lack of GPUs."""
    assert dict(named({}, "embedded")) == {
        "nodePools.cpu.gpusPerNode": 0,
        "models.embedded.gpusPerReplica": 0,
    }


def test_strategies() -> None:
    """A strategy is one of two."""
    assert replaces("replace")
    assert not replaces("beside")
    with pytest.raises(UsageError, match="beside, replace"):
        replaces("blue")


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, {"a": {"b": 3}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    ],
)
def test_merge_patch(before: Json, after: Json, patch: Json) -> None:
    """A merge patch names what changes, and None for what goes."""
    assert merge_patch(before, after) == patch


def test_other_objects() -> None:
    """Objects beside the RayService are told when they come, go or change; the RayService is told apart."""

    def thing(kind: str, value: int) -> Json:
        return {"kind": kind, "metadata": {"name": "x"}, "data": value}

    old = [thing("Ingress", 1), thing("Job", 1), thing("RayService", 1)]
    new = [thing("Ingress", 2), thing("Lease", 1), thing("RayService", 2)]
    assert other_changes(old, new) == ("Ingress x: changed", "Job x: removed", "Lease x: added")


def proposal(after: Json, account: Account | None = None) -> Proposal:
    before = service()
    has = {"metadata": {"name": "capstan-a"}, "spec": copy.deepcopy(before["spec"]["rayClusterConfig"])}
    return Proposal(classify(before, after, has), before, after, has, (), account)


def test_goal_of_a_new_cluster() -> None:
    """A new cluster is done only once another cluster than the old one serves."""
    goal = goal_of(proposal(service(at("rayVersion", "9"))), 4, {})
    assert (goal.new_cluster, goal.old_cluster, goal.generation) == (True, "capstan-a", 4)


def test_return_to_the_serving_cluster() -> None:
    """A spec that returns to that of the serving cluster waits for no new one."""
    abandoned = service(at("rayVersion", "9"))
    has = {"metadata": {"name": "capstan-a"}, "spec": service()["spec"]["rayClusterConfig"]}
    found = Proposal(classify(abandoned, service(), has), abandoned, service(), has, (), None)
    assert found.plan.new_cluster
    assert not found.new_cluster
    assert not goal_of(found, 1, {}).new_cluster


def test_pools_of_a_service() -> None:
    """Pools have a fixed number of pods unless Ray's autoscaler runs."""
    assert pools_of(service()) == {"gpu": 2}
    assert pools_of(service(at("enableInTreeAutoscaling", value=True))) == {}


def test_room_is_checked() -> None:
    """A rollout without room is refused before anything changes, unless the old cluster goes first."""
    full = proposal(
        service(at("rayVersion", "9")), Account(quotas=("quota team: 2 more wanted, 1 of 1 used",))
    )
    with pytest.raises(RefusedError, match=r"quota team: .* Nothing was changed.*--strategy replace"):
        check_room(full, replace=False)
    check_room(full, replace=True)


def test_unknown_room_refuses_nothing() -> None:
    """Without the right to list nodes nothing is refused."""
    check_room(proposal(service(at("rayVersion", "9"))), replace=False)


def test_plan_of_nothing_says_so() -> None:
    """A plan without changes is one line."""
    assert Plan((), {"a": classify(service(), service()).effect}).lines() == [
        "nothing to do: what runs is what is wanted"
    ]


def test_insist() -> None:
    """What nobody answers is tried again until somebody does."""
    answers = iter([UnreachableError("away"), UnreachableError("away"), "here"])

    def act() -> str:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    lines: list[str] = []
    assert insist(act, lines.append, Time().clock()) == "here"
    assert lines == ["away; trying again"]


def test_insist_ends() -> None:
    """What nobody answers ends at its limit."""

    def act() -> str:
        raise UnreachableError("away")

    time = Time()
    clock: Clock = time.clock()
    with pytest.raises(UnreachableError):
        insist(act, lambda _: None, clock, limit_s=10)
    assert time.now == 10
