"""The table of what restarts replicas, against the installed Ray."""

import warnings

import pytest
import yaml

from k8s.planning.effects import classify
from k8s.planning.plan import Effect
from tests.k8s.objects import Json

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "fields",
    [
        {"num_replicas": 3},
        {"user_config": {"a": 1}},
        {"max_ongoing_requests": 3},
        {"health_check_period_s": 3},
        {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}},
        {"request_router_config": {"initial_backoff_s": 1.0}},
        {"deployment_actors": [{"name": "a", "actor_class": "m:C"}]},
    ],
)
def test_agrees_with_ray(fields: Json) -> None:
    """The installed Ray changes the version of an application's code with the fields that the table says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import.
        from ray.serve._private.deploy_utils import get_app_code_version  # noqa: PLC0415
        from ray.serve.schema import ServeApplicationSchema  # noqa: PLC0415
    base = {"name": "a", "import_path": "m:b", "deployments": [{"name": "Model"}]}
    other = {**base, "deployments": [{"name": "Model", **fields}]}
    restarts = classify(_of(base), _of(other)).effect is Effect.REPLICA_RESTART
    versions = {get_app_code_version(ServeApplicationSchema(**config)) for config in (base, other)}
    assert restarts is (len(versions) == 2)


def _of(application: Json) -> Json:
    text = yaml.safe_dump({"applications": [application]})
    return {
        "spec": {"serveConfigV2": text, "rayClusterConfig": {"headGroupSpec": {"template": {"spec": {}}}}}
    }
