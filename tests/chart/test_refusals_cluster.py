"""Values that render but would not run in a cluster are refused with a sentence that says what to change."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import RefusedError, render

REFUSED = yaml.safe_load((Path(__file__).parent / "refusals_cluster.yaml").read_text())
FIXED: dict[str, Any] = {"models": {"a": {"replicas": 2}}, "nodePools": {"gpu": {}}}
SCALED: dict[str, Any] = {"models": {"a": {"autoscaling": {"maxReplicas": 4}}}, "nodePools": {"gpu": {}}}
CLAIM: dict[str, Any] = {"type": "persistentVolumeClaim", "accessModes": ["ReadWriteOnce"]}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_values_that_would_not_run_are_refused(case: dict[str, Any]) -> None:
    """Values that Kubernetes, KubeRay or Ray would refuse or never finish stop the render with a sentence."""
    with pytest.raises(RefusedError) as refused:
        render(case["values"])
    assert case["sentence"] in str(refused.value)


def deployment(**options: Any) -> dict[str, Any]:
    """Return values whose only model has these Serve options."""
    model = {"replicas": 2, "serveConfig": {"deployment": options}}
    return {"models": {"a": model}, "nodePools": {"gpu": {}}}


STEPS = {"gatewayClassName": "x", "stepSizePercent": 20, "intervalSeconds": 5, "maxSurgePercent": 20}
ACCEPTED: dict[str, dict[str, Any]] = {
    "one pod": FIXED | {"models": {"a": {}}, "modelCache": CLAIM, "upgradeStrategy": {"type": "None"}},
    "an existing claim": FIXED | {"modelCache": CLAIM | {"existingClaim": "models"}},
    "the same counts": deployment(
        num_replicas=2, ray_actor_options={"num_gpus": 1, "accelerator_type": "L4"}
    ),
    "the same bundle": deployment(placement_group_bundles=[{"GPU": 1, "CPU": 1}]),
    "a step as large as the surge": SCALED
    | {"upgradeStrategy": {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": STEPS}},
    "no autoscaler": FIXED | {"networkPolicy": {"egress": []}},
    "a range of ports": SCALED
    | {"networkPolicy": {"egress": [{"ports": [{"port": 6000, "endPort": 7000}]}]}},
    "any port": SCALED | {"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]}},
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED)
def test_values_next_to_the_refused_ones_are_accepted(values: dict[str, Any]) -> None:
    """The refusals above do not reach values that work."""
    assert "RayService" in render(values).kinds()


def test_token_authentication_needs_an_operator_that_knows_it() -> None:
    """An operator below 1.6, which drops the token silently, is refused where the kinds show its version."""
    old = ("ray.io/v1/RayService", "ray.io/v1/RayJob")
    with pytest.raises(
        RefusedError, match=r"KubeRay is older than 1\.6 .*Upgrade KubeRay to 1\.6 or later, or"
    ):
        render(api_versions=old)
    assert render({"auth": {"mode": "disabled"}}, api_versions=old)
    assert render(api_versions=(*old, "ray.io/v1/RayCronJob"))
