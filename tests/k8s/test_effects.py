"""What KubeRay and Ray Serve do with each change."""

import copy

import pytest

from k8s.planning.effects import classify
from k8s.planning.plan import Effect, Plan
from tests.k8s.objects import Change, Json, app, deployment, recorded, serve, service


def plan(change: Change) -> Plan:
    before = service()
    cluster = recorded("clusters")[0]
    cluster["spec"] = copy.deepcopy(before["spec"]["rayClusterConfig"])
    return classify(before, service(change), cluster)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (deployment("num_replicas", 3), "num_replicas"),
        (deployment("user_config", {"max_tokens": 64}), "user_config.max_tokens"),
        (deployment("max_ongoing_requests", 8), "max_ongoing_requests"),
        (deployment("max_queued_requests", 8), "max_queued_requests"),
        (deployment("graceful_shutdown_timeout_s", 30), "graceful_shutdown_timeout_s"),
        (deployment("health_check_period_s", 3), "health_check_period_s"),
        (deployment("max_surge_percent", 50), "max_surge_percent"),
        (app("route_prefix", "/v2"), "route_prefix"),
    ],
)
def test_in_place(change: Change, field: str) -> None:
    """These fields of the Serve config reach live replicas without a restart."""
    found = plan(change)
    assert [(c.field, c.effect) for c in found.changes] == [(f"model shapes: {field}", Effect.IN_PLACE)]
    assert found.models == {"shapes": Effect.IN_PLACE}
    assert not found.new_cluster


@pytest.mark.parametrize(
    "change",
    [
        deployment("ray_actor_options", {"num_cpus": 2, "num_gpus": 1}),
        deployment("max_replicas_per_node", 1),
        deployment("placement_group_bundles", [{"CPU": 1}]),
        deployment("request_router_config", {"request_router_class": "x:Y"}),
        deployment("autoscaling_config", {"min_replicas": 1, "max_replicas": 4}),
        app("autoscaling_policy", {"policy_function": "x:y"}),
        app("args", {"model": "other", "gpus_per_replica": 1}),
        app("import_path", "service.app:other"),
        app("runtime_env", {"env_vars": {"A": "1"}}),
    ],
)
def test_replica_restart(change: Change) -> None:
    """These fields of the Serve config make Serve start new replicas on the same cluster."""
    found = plan(change)
    assert found.effect is Effect.REPLICA_RESTART
    assert found.models == {"shapes": Effect.REPLICA_RESTART}
    assert not found.new_cluster


def test_autoscaling_bounds_change_in_place() -> None:
    """The bounds of an autoscaled model change in place; only their coming and going restarts replicas."""
    before = service(deployment("autoscaling_config", {"min_replicas": 1, "max_replicas": 4}))
    after = service(deployment("autoscaling_config", {"min_replicas": 1, "max_replicas": 8}))
    assert classify(before, after).effect is Effect.IN_PLACE


def test_nothing() -> None:
    """Equal services are nothing to do, in whatever order their Serve config is written."""
    found = plan(serve(lambda config: config["applications"][0].update(name="shapes")))
    assert found.effect is Effect.NOTHING
    assert found.changes == ()
    assert found.models == {"shapes": Effect.NOTHING}


def test_first_installation() -> None:
    """Without a service before, everything is new."""
    found = classify(None, service())
    assert found.first
    assert found.new_cluster
    assert found.models == {"shapes": Effect.NEW_CLUSTER}


@pytest.mark.parametrize("key", ["http_options", "grpc_options", "proxy_location"])
def test_proxies_start_once(key: str) -> None:
    """Serve reads the options of its proxies when they start, and ignores a later change."""
    found = plan(serve(lambda config: config.update({key: {"port": 9}})))
    assert found.effect is Effect.IGNORED
    assert found.models == {"shapes": Effect.NOTHING}


def test_models_apart() -> None:
    """A change of one model leaves the others alone, and added and removed models are listed."""

    def two(found: Json) -> None:
        def add(config: Json) -> None:
            config["applications"].append({**copy.deepcopy(config["applications"][0]), "name": "second"})

        serve(add)(found)

    both = service(two)
    assert classify(service(), both).models == {"second": Effect.IN_PLACE, "shapes": Effect.NOTHING}
    assert classify(both, service()).models == {"second": Effect.IN_PLACE, "shapes": Effect.NOTHING}


def test_restart_of_an_only_replica_is_shown() -> None:
    """A plan says when a model's only replica stops before its successor is there."""

    def one(found: Json) -> None:
        deployment("num_replicas", 1)(found)
        app("args", {"model": "other"})(found)

    assert plan(one).restarts_alone == ("shapes",)
    assert any("does not answer" in line for line in plan(one).lines())


def test_surge_keeps_an_only_replica() -> None:
    """With a surge, the successor starts first."""

    def surging(found: Json) -> None:
        deployment("num_replicas", 1)(found)
        deployment("max_surge_percent", 100)(found)
        app("args", {"model": "other"})(found)

    assert plan(surging).restarts_alone == ()
