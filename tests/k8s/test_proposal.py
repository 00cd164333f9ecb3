"""What a deploy would do, its target, and its capacity."""

import copy
from dataclasses import replace

import pytest

from k8s.commands.deploy import proposal_json, proposal_lines
from k8s.errors import RefusedError
from k8s.planning.capacity import CapacityReport
from k8s.planning.diff import merge_patch
from k8s.planning.effects import classify
from k8s.planning.plan import Plan
from k8s.planning.proposal import Proposal, check_proposal
from k8s.planning.verdict import fixed_pools, target_of
from k8s.rollout.propose import other_changes
from tests.k8s.objects import Json, at, service


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
    """Objects other than the RayService are listed when they are added, removed or changed."""

    def thing(kind: str, value: int) -> Json:
        return {"kind": kind, "metadata": {"name": "x"}, "data": value}

    old = [thing("Ingress", 1), thing("Job", 1), thing("RayService", 1)]
    new = [thing("Ingress", 2), thing("Lease", 1), thing("RayService", 2)]
    assert other_changes(old, new) == ("Ingress x: changed", "Job x: removed", "Lease x: added")


def proposal(after: Json, account: CapacityReport | None = None) -> Proposal:
    before = service()
    has = {"metadata": {"name": "capstan-a"}, "spec": copy.deepcopy(before["spec"]["rayClusterConfig"])}
    return Proposal(classify(before, after, has), before, after, has, (), account)


def test_target_of_a_new_cluster() -> None:
    """A new cluster is done only once another cluster than the old one serves."""
    target = target_of(proposal(service(at("rayVersion", "9"))), 4, {})
    assert (target.new_cluster, target.old_cluster, target.generation) == (True, "capstan-a", 4)


def test_return_to_the_serving_cluster() -> None:
    """A spec that returns to that of the serving cluster waits for no new one."""
    abandoned = service(at("rayVersion", "9"))
    has = {"metadata": {"name": "capstan-a"}, "spec": service()["spec"]["rayClusterConfig"]}
    found = Proposal(classify(abandoned, service(), has), abandoned, service(), has, (), None)
    assert found.plan.new_cluster
    assert not found.new_cluster
    assert not target_of(found, 1, {}).new_cluster


def test_pools_of_a_service() -> None:
    """Pools have a fixed number of pods unless Ray's autoscaler runs."""
    assert fixed_pools(service()) == {"gpu": 2}
    assert fixed_pools(service(at("enableInTreeAutoscaling", value=True))) == {}


def test_capacity_is_checked() -> None:
    """A rollout that does not fit is refused before anything changes, unless the old cluster goes first."""
    full = proposal(
        service(at("rayVersion", "9")), CapacityReport(quotas=("quota team: 2 more needed, 1 of 1 used",))
    )
    with pytest.raises(RefusedError, match=r"quota team: .* Nothing was changed.*--strategy replace"):
        check_proposal(full, replace=False)
    check_proposal(full, replace=True)


def test_unknown_capacity_refuses_nothing() -> None:
    """Without the right to list nodes nothing is refused."""
    check_proposal(proposal(service(at("rayVersion", "9"))), replace=False)


def test_plan_of_nothing_says_so() -> None:
    """A plan without changes is one line."""
    assert Plan((), {"a": classify(service(), service()).effect}).lines() == [
        "nothing to do: the release is up to date"
    ]


def with_second_pool(**fields: object) -> Json:
    """The recorded service with one more pool at the end, and other fields of the first one."""
    found = service()
    groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    groups.append({**copy.deepcopy(groups[0]), "groupName": "zebra"})
    groups[0].update(fields)
    return found


def test_one_pool_added_while_another_shrinks() -> None:
    """KubeRay replaces the whole spec when a pool is added, and would delete random pods of a smaller one."""
    found = proposal(with_second_pool(replicas=1, minReplicas=1, maxReplicas=1))
    with pytest.raises(RefusedError, match=r"pool gpu from 2 to 1 pods.*Nothing was changed.*two deploys"):
        check_proposal(found, replace=False)


def test_autoscaled_pool_is_not_reset() -> None:
    """With Ray's autoscaler, a pool that it made larger counts as shrinking when another is added."""
    after = with_second_pool(replicas=1, minReplicas=1, maxReplicas=9)
    with pytest.raises(RefusedError, match="pool gpu from 2 to 1 pods"):
        check_proposal(proposal(after), replace=False)


def test_one_pool_added_while_another_grows() -> None:
    """A pool may be added while others grow or stay."""
    check_proposal(proposal(with_second_pool(replicas=5, minReplicas=5, maxReplicas=5)), replace=False)
    check_proposal(proposal(with_second_pool()), replace=False)


def test_a_new_cluster_may_shrink_pools() -> None:
    """A second cluster starts with its own pods, so none is deleted at random."""
    after = with_second_pool(replicas=1, minReplicas=1, maxReplicas=1)
    at("rayVersion", "9")(after)
    check_proposal(proposal(after), replace=False)


def test_operator_of_another_version_is_shown() -> None:
    """A plan warns that an operator of another version does not start the new cluster that it promises."""
    found = replace(proposal(service(at("rayVersion", "9"))), warnings=("the operator is v1.8.0",))
    assert "  ! the operator is v1.8.0" in proposal_lines(found)
    assert proposal_json(found)["warnings"] == ["the operator is v1.8.0"]
