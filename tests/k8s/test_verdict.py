"""The verdict on a rollout, from recorded objects and small changes to them."""

import copy
from typing import Any

import pytest

from k8s.planning.verdict import State
from tests.k8s.world import CLUSTER, World


def test_done(world: World) -> None:
    """A rollout is done when every application runs as wanted and nothing is left over."""
    assert world.verdict().state is State.DONE


def generation(world: World) -> None:
    world.service["status"]["observedGeneration"] -= 1


def no_service_status(world: World) -> None:
    world.service["status"] = {"observedGeneration": world.service["metadata"]["generation"]}


def old_config(world: World) -> None:
    world.app["deployed_app_config"]["deployments"][0]["user_config"]["max_tokens"] = 7


def too_few(world: World) -> None:
    world.model["replicas"].pop()


def stopping(world: World) -> None:
    world.model["replicas"].append({"replica_id": "old", "state": "STOPPING"})


def wrong_target(world: World) -> None:
    world.model["target_num_replicas"] = 1
    world.model["replicas"].pop()


def deploying(world: World) -> None:
    world.app["status"] = "DEPLOYING"


def updating(world: World) -> None:
    world.model["status"] = "UPDATING"


def extra_app(world: World) -> None:
    world.applications["applications"]["old"] = {**copy.deepcopy(world.app), "name": "old"}


def silent(world: World) -> None:
    world.applications = {"applications": {}}


def not_ready(world: World) -> None:
    for condition in world.service["status"]["conditions"]:
        condition["status"] = "False"


def left_over(world: World) -> None:
    world.clusters.append("capstan-old42")


def not_begun(world: World) -> None:
    world.target = {"new_cluster": True, "old_cluster": CLUSTER}


def pending(world: World) -> None:
    status = world.service["status"]
    status["pendingServiceStatus"] = {**status["activeServiceStatus"]}
    status["activeServiceStatus"] = {"rayClusterName": "capstan-old42"}


def too_many_pods(world: World) -> None:
    world.target = {"pools": {"gpu": 1}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (generation, "KubeRay has not read generation"),
        (no_service_status, "KubeRay has not created a cluster yet"),
        (old_config, "Serve on .* has not taken the new config yet"),
        (too_few, "shapes: 1 of 2 replicas run"),
        (stopping, "1 more are stopping"),
        (wrong_target, "Serve aims at 1 replicas, the config says 2 to 2"),
        (deploying, "shapes is DEPLOYING"),
        (updating, "UPDATING"),
        (extra_app, "old: removed from the config, but still served"),
        (silent, r"does not answer yet; \d of \d pods are ready"),
        (not_ready, "the RayService is not Ready"),
        (left_over, "capstan-old42: replaced, but not deleted yet"),
        (not_begun, "KubeRay has not started the new cluster yet"),
        (pending, "KubeRay has not switched the traffic yet"),
        (too_many_pods, "pool gpu has 2 of 1 worker pods"),
    ],
)
def test_waits(world: World, change: Any, sentence: str) -> None:
    """A rollout is not done, and says why, while any one of its conditions does not hold."""
    change(world)
    found = world.verdict()
    assert found.state is State.WAITING
    pytest.raises(AssertionError, match=sentence).matches(AssertionError(found.sentence))


def test_deployed_again(world: World) -> None:
    """A config that Serve writes differently counts as taken once Serve has deployed it again."""
    old_config(world)
    world.target = {"deployed_before": {"shapes": world.app["last_deployed_time_s"] - 1}}
    assert world.verdict().state is State.DONE
