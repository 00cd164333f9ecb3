"""Holding KubeRay's switch to a new cluster: an application that cannot start yet.

KubeRay 1.7 has no way to hold it. It switches the traffic once every application on the pending cluster is
RUNNING (`getAndCheckServeStatus` in rayservice_controller.go). So the Serve config gets one more application,
whose replica needs a resource that no node has: it stays DEPLOYING, costs nothing, and the others start as
usual. Once it is removed from the config, KubeRay switches.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from k8s.clients.kubernetes import KubernetesClient
from k8s.planning.verdict import HOLD
from k8s.resources.rayservice import serve_applications, serve_config
from k8s.rollout.teardown import Teardown

Json = Mapping[str, Any]


def hold(client: KubernetesClient, wanted: Json) -> None:
    """Keep KubeRay from switching to the pending cluster of a RayService."""
    client.patch(_path(client, wanted), {"spec": {"serveConfigV2": held_config(wanted)}})


def release(client: KubernetesClient, wanted: Json) -> None:
    """Give a RayService the Serve config of `wanted` where its switch is held."""
    if is_held(client, wanted):
        client.patch(_path(client, wanted), {"spec": {"serveConfigV2": wanted["spec"].get("serveConfigV2")}})


def is_held(client: KubernetesClient, service: Json) -> bool:
    """Whether the switch of a RayService is held, by this helper or one that was killed."""
    return HOLD in serve_applications(client.find(_path(client, service)) or {})


def abandon(teardown: Teardown, former: Json) -> None:
    """Delete the pending cluster of a rollout that was given up; `former` is the RayService that serves.

    Without a pending cluster, KubeRay gives the Serve config to the one that serves: `former`'s comes first.
    It is held, as the pending cluster must not switch because of it.
    """
    teardown.drop_pending(serve_config=held_config(former))


def held_config(service: Json) -> str:
    """A RayService's Serve config with the application that cannot start; unchanged where it has none."""
    config = serve_config(service)
    apps = [a for a in config.get("applications") or [] if a.get("name") != HOLD]
    if not apps:
        return yaml.safe_dump(config, sort_keys=False)
    held = {
        **{key: apps[0][key] for key in ("import_path", "args", "runtime_env") if key in apps[0]},
        "name": HOLD,
        "route_prefix": f"/{HOLD}",
        "deployments": [
            {
                "name": deployment["name"],
                "num_replicas": 1,
                "ray_actor_options": {"num_cpus": 0, "resources": {HOLD: 1}},
            }
            for deployment in apps[0].get("deployments") or []
        ],
    }
    return yaml.safe_dump({**config, "applications": [*apps, held]}, sort_keys=False)


def _path(client: KubernetesClient, service: Json) -> str:
    return f"{client.ray}/rayservices/{service['metadata']['name']}"
