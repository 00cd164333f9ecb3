"""What KubeRay and Ray Serve do with each change."""

import copy
from typing import Any

import pytest

from k8s.rules.change import Effect, Plan, shown
from k8s.rules.classify import classify
from k8s.rules.fields import differences
from k8s.rules.ray_cluster import drift, same_cluster
from tests.rollout.objects import Change, Json, app, at, deployment, recorded, serve, service

POOL = "workerGroupSpecs.0"
POD = f"{POOL}.template.spec"
HEAD = "headGroupSpec.template.spec"


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


@pytest.mark.parametrize(
    "change",
    [
        at(f"{POD}.containers.0.image", "localhost/capstan:v2"),
        at(f"{POD}.containers.0.env", [{"name": "A", "value": "1"}]),
        at(f"{POD}.containers.0.resources.limits.memory", "8Gi"),
        at(f"{POD}.nodeSelector.zone", "a"),
        at(f"{POD}.terminationGracePeriodSeconds", 90),
        at(f"{POOL}.rayStartParams.num-gpus", "2"),
        at(f"{POOL}.idleTimeoutSeconds", 30),
        at(f"{POOL}.groupName", "other"),
        at(f"{HEAD}.containers.0.image", "localhost/capstan:v2"),
        at("headGroupSpec.template.metadata.labels.a", "b"),
        at("rayVersion", "2.61.0"),
        at("enableInTreeAutoscaling", value=True),
        at("workerGroupSpecs", []),
    ],
)
def test_new_cluster(change: Change) -> None:
    """Every other change of the cluster's configuration starts a second cluster, for all models."""
    found = plan(change)
    assert found.effect is Effect.NEW_CLUSTER
    assert found.new_cluster
    assert found.models == {"shapes": Effect.NEW_CLUSTER}


RESOURCES = f"{POD}.containers.0.resources"


@pytest.mark.parametrize(
    "change",
    [
        at(f"{RESOURCES}.limits", {"memory": "4096Mi", "nvidia.com/gpu": "1"}),
        at(f"{RESOURCES}.requests.cpu", 0.1),
        at(f"{RESOURCES}.requests.memory", "1048576Ki"),
    ],
)
def test_equal_quantities(change: Change) -> None:
    """Quantities that the API server stores alike are no change, however they are written."""
    found = plan(change)
    assert found.changes == ()
    wanted = service(change)["spec"]["rayClusterConfig"]
    assert same_cluster(service()["spec"]["rayClusterConfig"], wanted)


def test_only_unequal_quantities_are_told() -> None:
    """A plan names the quantity that differs, and not the one that is merely written in another way."""
    change = at(f"{RESOURCES}.limits", {"memory": "8Gi", "nvidia.com/gpu": "1"})
    field = "pool gpu: template.spec.containers[0].resources.limits.memory"
    assert [(c.field, c.before, c.after) for c in plan(change).changes] == [(field, "4Gi", "8Gi")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (at(f"{POOL}.replicas", 3), "pool gpu: replicas"),
        (at(f"{POOL}.minReplicas", 0), "pool gpu: minReplicas"),
        (at(f"{POOL}.maxReplicas", 9), "pool gpu: maxReplicas"),
        (at(f"{POD}.tolerations", [{"operator": "Exists"}]), "pool gpu: template.spec.tolerations"),
        (at(f"{POD}.schedulingGates", [{"name": "x"}]), "pool gpu: template.spec.schedulingGates"),
        (at(f"{HEAD}.tolerations", [{"operator": "Exists"}]), "head.template.spec.tolerations"),
    ],
)
def test_ignored_by_kuberay(change: Change, field: str) -> None:
    """What KubeRay leaves out of its hash must be patched on the RayCluster that serves."""
    found = plan(change)
    assert [(c.field, c.effect) for c in found.changes] == [(field, Effect.CLUSTER_PATCH)]
    assert not found.new_cluster


def test_autoscaling_bounds_change_in_place() -> None:
    """The bounds of an autoscaled model change in place; only their coming and going restarts replicas."""
    before = service(deployment("autoscaling_config", {"min_replicas": 1, "max_replicas": 4}))
    after = service(deployment("autoscaling_config", {"min_replicas": 1, "max_replicas": 8}))
    assert classify(before, after).effect is Effect.IN_PLACE


def test_ignored_fields_come_with_a_new_cluster() -> None:
    """A new cluster is made from the whole spec, so nothing needs a patch then."""

    def both(found: Json) -> None:
        at(f"{POOL}.replicas", 5)(found)
        at("rayVersion", "2.61.0")(found)

    assert {c.effect for c in plan(both).changes} == {Effect.NEW_CLUSTER}


def test_autoscaler_owns_replicas() -> None:
    """Where Ray's autoscaler runs, the number of pods that it chose is no drift."""
    found = service(at("enableInTreeAutoscaling", value=True))
    cluster = {"spec": copy.deepcopy(found["spec"]["rayClusterConfig"])}
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 7
    cluster["spec"]["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["a"]}
    assert drift(found, cluster) == []


def test_drift_without_a_change() -> None:
    """A RayCluster that was left behind is found even where the release itself does not change."""
    cluster = {"spec": copy.deepcopy(service()["spec"]["rayClusterConfig"])}
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 7
    found = classify(service(), service(), cluster)
    assert [(c.field, c.before, c.effect) for c in found.changes] == [
        ("pool gpu: replicas", 7, Effect.CLUSTER_PATCH)
    ]


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


def test_pool_added_at_the_end() -> None:
    """KubeRay adds a pool to the running cluster if it comes after those there are."""

    def add(found: Json) -> None:
        groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        groups.append({**copy.deepcopy(groups[0]), "groupName": "zebra"})

    assert plan(add).effect is Effect.CLUSTER_UPDATE
    assert not plan(add).new_cluster


def test_pool_added_in_front() -> None:
    """A pool before those there are makes a new cluster, as KubeRay compares them by their order."""

    def add(found: Json) -> None:
        groups = found["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        groups.insert(0, {**copy.deepcopy(groups[0]), "groupName": "aardvark"})

    assert plan(add).effect is Effect.NEW_CLUSTER


@pytest.mark.parametrize("key", ["http_options", "grpc_options", "proxy_location"])
def test_proxies_start_once(key: str) -> None:
    """Serve reads the options of its proxies when they start, and ignores a later change."""
    found = plan(serve(lambda config: config.update({key: {"port": 9}})))
    assert found.effect is Effect.IGNORED
    assert found.models == {"shapes": Effect.NOTHING}


def test_strategy_none_ignores() -> None:
    """With upgradeStrategy None, a change of the cluster waits for somebody to delete the RayCluster."""

    def change(found: Json) -> None:
        found["spec"]["upgradeStrategy"] = {"type": "None"}
        at("rayVersion", "2.61.0")(found)

    found = plan(change)
    assert not found.new_cluster
    assert Effect.IGNORED in {c.effect for c in found.changes}


def test_models_apart() -> None:
    """A change of one model leaves the others alone, and added and removed models are told."""

    def two(found: Json) -> None:
        def add(config: Json) -> None:
            config["applications"].append({**copy.deepcopy(config["applications"][0]), "name": "second"})

        serve(add)(found)

    both = service(two)
    assert classify(service(), both).models == {"second": Effect.IN_PLACE, "shapes": Effect.NOTHING}
    assert classify(both, service()).models == {"second": Effect.IN_PLACE, "shapes": Effect.NOTHING}


def test_restart_of_an_only_replica_is_told() -> None:
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


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        (f"{POOL}.replicas", 9, True),
        (f"{POOL}.scaleStrategy", {"workersToDelete": ["x"]}, True),
        ("suspend", True, True),
        (f"{POD}.priorityClassName", "high", False),
    ],
)
def test_same_cluster(path: str, value: Any, same: bool) -> None:
    """Two configurations are the same cluster when they differ in nothing but what the hash leaves out."""
    left, right = service()["spec"]["rayClusterConfig"], service(at(path, value))["spec"]["rayClusterConfig"]
    assert same_cluster(left, right) is same


def test_differences() -> None:
    """Differences are told at their leaves, and lists of unlike length as a whole."""
    found = list(differences({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": 2}, "c": [1]}))
    assert found == [(("a", "b"), 1, 2), (("c",), [1, 2], [1])]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("model a: runtime_env.env_vars.HF_TOKEN", "hf_x", "(set)"),
        ("pool p: template.spec.containers[0].env", [{"name": "A", "value": "hf_x"}], "(set)"),
        ("model a: runtime_env", {"env_vars": {"HF_TOKEN": "hf_x"}}, "(set)"),
        ("pool p: template.spec.containers", [{"env": [{"name": "A", "value": "hf_x"}]}], "(set)"),
        ("pool p: template.spec.tolerations", [{"key": "gpu"}], "[{'key': 'gpu'}]"),
        ("model a: num_replicas", 2, "2"),
        ("model a: user_config.max_tokens", None, "(none)"),
        ("model a: import_path", "x" * 80, "x" * 57 + "..."),
    ],
)
def test_values_shown(field: str, value: Any, text: str) -> None:
    """A plan shows short values, and none that may be a secret."""
    assert shown(field, value) == text
