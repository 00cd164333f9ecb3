"""A whole rollout against an API server in memory: apply, watch, verify, and finish or roll back."""

import pytest

from k8s.errors import LeaseLostError, RolledBackError, RolloutError
from k8s.rollout.smoke_test import EXPECTED
from tests.k8s.objects import app, at, service
from tests.k8s.site import RAY, SERVICE, Site
from tests.k8s.world import CLUSTER

CHANGE = app("args", {"model": "embedded", "gpus_per_replica": 1, "new": True})


def test_success(site: Site) -> None:
    """A rollout that runs and passes the smoke test is recorded as serving."""
    result = site.deploy(service(CHANGE))
    assert (result.revision, result.changed) == (2, True)
    assert site.outcomes() == {2: "serves"}
    assert "shapes: the known image was captioned" in site.lines


def test_tolerations_are_carried_over(site: Site) -> None:
    """What KubeRay ignores is patched on the RayCluster that serves."""
    wanted = [{"operator": "Exists"}]
    site.deploy(service(at("workerGroupSpecs.0.template.spec.tolerations", wanted)))
    spec = site.server.objects[f"{RAY}/rayclusters/{CLUSTER}"]["spec"]
    assert spec["workerGroupSpecs"][0]["template"]["spec"]["tolerations"] == wanted


def test_failure_is_rolled_back(site: Site) -> None:
    """A failed smoke test returns to the revision before, and both are recorded."""

    def on_apply() -> None:
        site.caption = "a cat" if len(site.revisions) == 2 else EXPECTED

    site.on_apply = on_apply
    with pytest.raises(RolledBackError, match=r"did not answer .* rolled back: revision 1 serves"):
        site.deploy(service(CHANGE))
    assert site.outcomes() == {2: "rolled back", 3: "serves"}
    assert site.server.objects[SERVICE]["spec"] == service()["spec"]


def test_an_api_server_that_restarts_costs_no_rollback(site: Site) -> None:
    """Helm is asked again where the API server does not answer while a rollback begins."""

    def on_apply() -> None:
        failing = len(site.revisions) == 2
        site.caption = "a cat" if failing else EXPECTED
        site.unanswered = 3 if failing else 0

    site.on_apply = on_apply
    with pytest.raises(RolledBackError, match="rolled back: revision 1 serves"):
        site.deploy(service(CHANGE))
    assert site.outcomes() == {2: "rolled back", 3: "serves"}


def test_failure_without_rollback(site: Site) -> None:
    """With --no-rollback the failed revision stays."""
    site.caption = "a cat"
    with pytest.raises(RolloutError, match=r"nothing was rolled back \(--no-rollback\)"):
        site.deploy(service(CHANGE), rollback=False)
    assert site.outcomes() == {2: "failed"}


def test_nothing_to_do(site: Site) -> None:
    """An unchanged service is not applied."""
    result = site.deploy(service())
    assert (result.changed, result.sentence) == (False, "nothing to do: the release is up to date")
    assert len(site.revisions) == 1


def test_lost_lease_stops_the_rollout(site: Site) -> None:
    """A rollout that lost its lease changes nothing more, and rolls nothing back."""
    site.lost = True
    with pytest.raises(LeaseLostError):
        site.deploy(service(CHANGE))
    assert len(site.revisions) == 1
    assert site.outcomes() == {}
