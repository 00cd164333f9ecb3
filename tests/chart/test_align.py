"""The Job that runs `capstan align` after an upgrade."""

from typing import Any

import pytest

from tests.chart.rendering import Rendered, render


@pytest.fixture(scope="module")
def default() -> Rendered:
    return render()


def rules(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """The rules of the Job's Role, by resource."""
    return {rule["resources"][0]: rule for rule in rendered.one("Role")["rules"]}


def test_it_runs_after_an_upgrade(default: Rendered) -> None:
    """The Job is a hook after upgrades and rollbacks; an installation needs none."""
    job = default.one("Job", "test-align")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-upgrade,post-rollback"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "k8s.cli", "align", "--direct"]
    assert container["args"] == ["--service=test", "--namespace=space", "--timeout=900"]


def test_its_account_may_do_no_more(default: Rendered) -> None:
    """Its account changes RayClusters alone and is not the account of the Ray pods."""
    found = rules(default)
    assert {name: rule["verbs"] for name, rule in found.items()} == {
        "rayservices": ["get"],
        "rayclusters": ["get", "list", "patch"],
        "pods": ["get", "list"],
        "events": ["list"],
        "jobs": ["list"],
        "secrets": ["get"],
    }
    assert found["rayservices"]["resourceNames"] == ["test"]
    pod = default.one("Job", "test-align")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "test-align"
    assert pod["automountServiceAccountToken"] is True
    assert default.one("ServiceAccount", "test-align")["automountServiceAccountToken"] is False


def test_it_reads_one_secret_where_that_is_known() -> None:
    """With a token of one's own it reads that Secret alone, and without authentication none."""
    own = render({"auth": {"existingSecret": "token"}})
    assert rules(own)["secrets"]["resourceNames"] == ["token"]
    assert "secrets" not in rules(render({"auth": {"mode": "disabled"}}))


def test_it_can_be_left_out() -> None:
    """Without it there is neither Job nor Role."""
    assert not {"Job", "Role", "RoleBinding"} & render({"align": {"enabled": False}}).kinds()
