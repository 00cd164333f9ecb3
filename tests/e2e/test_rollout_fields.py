"""What happens with which change: for each row of the table in docs/rollouts.md, the plan and what happened.

Four models share a pool. A rollout changes some of them, each in a field of its own; `still` is left alone.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.commands import run
from tests.e2e.site import Site, ground
from tests.e2e.waiting import until

Json = dict[str, Any]
SMALL: Json = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}}


def model(route: str) -> Json:
    """A model on a part of a CPU."""
    return {
        "routePrefix": route,
        "gpusPerReplica": 0,
        "resources": {"cpu": 0.2},
        "settings": {"torch_threads": 1},
    }


VALUES: Json = {
    "models": {name: model(f"/{name}") for name in ("one", "two", "three", "still")},
    "nodePools": {"cpu": {"gpusPerNode": 0, "resources": SMALL}},
    "head": {"resources": SMALL},
    "serve": {"drainSeconds": 5},
    "ingress": {"enabled": True},
}


class Fields:
    """A release, the values that it has, and what is seen of it."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.values = deepcopy(VALUES)
        self._file = folder / "values.yaml"

    def arguments(self, change: Json) -> list[str]:
        """The arguments of `capstan` for the values so far and a change of them."""
        image, _, tag = self.site.image.rpartition(":")
        here = {"image": {"repository": image, "tag": tag}, "ingress": {"hosts": [self.site.host]}}
        self._file.write_text(yaml.safe_dump(merge(merge(deepcopy(self.values), here), change)))
        return ["-f", str(self._file)]

    def plan(self, change: Json) -> Any:
        """What `capstan plan` says of a change."""
        return self.site.read("plan", *self.arguments(change))

    def roll_out(self, change: Json) -> Any:
        """What `capstan plan` said of a change, once it is rolled out."""
        plan = self.plan(change)
        ended = self.site.run("deploy", *self.arguments(change))
        assert ended.code == 0, ended.said
        merge(self.values, change)
        return plan

    def pods(self) -> tuple[str, set[str]]:
        """The cluster that serves, and its pods."""
        return self.site.active(), self.site.pods()


def merge(into: Json, change: Mapping[str, Any]) -> Json:
    """Change a JSON object in place: None removes a key."""
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = deepcopy(value)
    return into


@pytest.fixture(scope="module")
def fields(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fields]:
    """A release of four models."""
    with ground(address) as site:
        found = Fields(site, tmp_path_factory.mktemp("values"))
        ended = site.run("deploy", *found.arguments({}))
        assert ended.code == 0, ended.said
        yield found


def deployment(**options: Any) -> Json:
    """Options of a model's deployment."""
    return {"serveConfig": {"deployment": options}}


IN_PLACE = {
    "generation": {"maxTokens": 4},
    "maxOngoingRequests": 512,
    "maxQueuedRequests": 100,
    "routePrefix": "/first",
    **deployment(
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=7,
        health_check_period_s=7,
        health_check_timeout_s=20,
        max_surge_percent=50,
    ),
}
TOLERATIONS = [{"key": "anything", "operator": "Exists"}]


def test_in_place(fields: Fields) -> None:
    """Serve takes these without a restart, starts and stops whole models, and proxies stay as they were."""
    before, pods, proxies = fields.site.replicas(), fields.pods(), proxies_of(fields.site)
    plan = fields.roll_out(
        {
            "models": {
                "one": IN_PLACE,
                "two": {"replicas": 2},
                "three": None,
                "new": model("/new"),
            },
            "serveConfig": {"http_options": {"keep_alive_timeout_s": 77}},
        }
    )
    after = fields.site.replicas()
    assert plan["models"] == dict.fromkeys(("one", "two", "three", "new"), "IN_PLACE") | {"still": "NOTHING"}
    assert (after["one"], after["still"]) == (before["one"], before["still"])
    assert after["two"] > before["two"]
    assert sorted(after) == ["new", "one", "still", "two"]
    assert fields.site.caption(path="/first/caption") == "a red circle left"
    assert fields.pods() == pods
    assert proxies_of(fields.site) == proxies


def proxies_of(site: Site) -> set[str]:
    """The actors of Serve's proxies."""
    return {proxy["actor_id"] for proxy in site.serve()["proxies"].values()}


# An actor that any Ray has.
ACTOR = {
    "name": "queue",
    "actor_class": "ray.serve.experimental.capacity_queue:CapacityQueue",
    "init_kwargs": {"acquire_timeout_s": 1.0, "token_ttl_s": 0.0, "_enable_long_poll": False},
}
POLICY = {"policy_function": "ray.serve.autoscaling_policy:default_autoscaling_policy"}
RESTARTS = {
    "arguments, environment, import path": {
        "one": {"settings": {"max_waiting": 100}},
        "two": {"replicas": None, "env": {"MARK": "new"}},
        "new": {"serveConfig": {"import_path": "service.app.build"}},
    },
    "actor options, autoscaling that comes, replicas a node": {
        "one": {"resources": {"cpu": 0.1}},
        "two": {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}},
        "new": deployment(max_replicas_per_node=3),
    },
    "placement group, autoscaling policy, request router": {
        "one": deployment(placement_group_bundles=[{"CPU": 0.1}]),
        "two": deployment(autoscaling_config={"policy": POLICY}),
        "new": deployment(request_router_config={"request_routing_stats_period_s": 5.0}),
    },
    "gangs, autoscaling that goes, deployment actors": {
        "one": deployment(placement_group_bundles=None, gang_scheduling_config={"gang_size": 1}),
        "two": {"autoscaling": None, **deployment(autoscaling_config=None)},
        "new": deployment(deployment_actors=[ACTOR]),
    },
}


@pytest.mark.parametrize("change", RESTARTS.values(), ids=RESTARTS)
def test_replicas_restart(fields: Fields, change: dict[str, Json]) -> None:
    """Other replicas run these models, in the same pods; the replica of the one left alone is the same."""
    before, pods = fields.site.replicas(), fields.pods()
    plan = fields.roll_out({"models": change})
    after = fields.site.replicas()
    assert plan["models"] == dict.fromkeys(change, "REPLICA_RESTART") | {"still": "NOTHING"}
    assert [name for name in change if after[name] & before[name] or not after[name]] == []
    assert after["still"] == before["still"]
    assert fields.pods() == pods


def test_tolerations(fields: Fields) -> None:
    """Tolerations, which KubeRay would leave as they were, reach the RayCluster, and no pod restarts."""
    before, pods = fields.site.replicas(), fields.pods()
    change = {"nodePools": {"cpu": {"tolerations": TOLERATIONS}}, "head": {"tolerations": TOLERATIONS}}
    fields.roll_out(change)
    cluster = fields.site.namespace.get("RayCluster", fields.site.active())
    assert cluster is not None
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert [group["template"]["spec"]["tolerations"] for group in groups] == [TOLERATIONS] * 2
    assert (fields.site.replicas(), fields.pods()) == (before, pods)


BEYOND = {
    "image": {"image": {"digest": "sha256:" + "0" * 64}},
    "environment": {"extraEnv": [{"name": "MARK", "value": "new"}]},
    "resources": {"nodePools": {"cpu": {"resources": {"limits": {"memory": "7Gi"}}}}},
    "node selector": {"nodePools": {"cpu": {"nodeSelector": {"pool": "cpu"}}}},
    "Ray's version": {"rayVersion": "2.59.0"},
}


@pytest.mark.parametrize("change", BEYOND.values(), ids=BEYOND)
def test_second_cluster(fields: Fields, change: Json) -> None:
    """A change of anything else in the cluster is announced as a new cluster for every model."""
    plan = fields.plan(change)
    assert plan["newCluster"]
    assert set(plan["models"].values()) == {"NEW_CLUSTER"}


def test_a_strategy_that_waits(fields: Fields) -> None:
    """With the upgrade strategy None nothing happens until the RayCluster is deleted, and then all of it."""
    before, pods = fields.site.replicas(), fields.pods()
    change = {"upgradeStrategy": {"type": "None"}, "nodePools": {"cpu": {"env": {"MARK": "late"}}}}
    plan = fields.roll_out(change)
    assert {each["effect"] for each in plan["fields"]} == {"IN_PLACE", "IGNORED"}
    assert (fields.site.replicas(), fields.pods()) == (before, pods)
    run("kubectl", "-n", fields.site.namespace.name, "delete", "raycluster", pods[0])
    until(
        "a new cluster serves",
        lambda: fields.site.read("status")["serves"] and fields.site.active() != pods[0],
        bool,
        seconds=300,
    )
    worker = fields.site.namespace.pods("ray.io/node-type=worker")[0]
    assert {"name": "MARK", "value": "late"} in worker["spec"]["containers"][0]["env"]
