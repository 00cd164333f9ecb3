"""RayServices, and the Serve config inside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

Json = Mapping[str, Any]

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class RayService:
    """A RayService's status. `active` and `pending` are names of RayClusters, empty where there is none."""

    name: str
    generation: int
    observed_generation: int
    active: str
    pending: str
    ready: bool

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse an API object."""
        status = found.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
        return cls(
            name=found["metadata"]["name"],
            generation=found["metadata"].get("generation", 0),
            observed_generation=status.get("observedGeneration", 0),
            active=active_cluster(found),
            pending=pending_cluster(found),
            ready=conditions.get("Ready") == "True",
        )


def active_cluster(service: Json | None) -> str:
    """The name of the RayCluster that serves a RayService now; empty where there is none."""
    return _cluster_name(service, "activeServiceStatus")


def pending_cluster(service: Json | None) -> str:
    """The name of the RayCluster that is to take over; empty where there is none."""
    return _cluster_name(service, "pendingServiceStatus")


def serve_applications(service: Json) -> dict[str, Json]:
    """The applications in a RayService's `serveConfigV2`, by name."""
    found = serve_config(service).get("applications") or []
    return {app.get("name", "default"): app for app in found}


def serve_config(service: Json) -> Json:
    """A RayService's `serveConfigV2`, parsed."""
    return yaml.safe_load((service.get("spec") or {}).get("serveConfigV2") or "") or {}


def replica_bounds(app: Json) -> dict[str, tuple[int, int]]:
    """The minimum and maximum number of replicas of each deployment that an application's config names."""
    found = {}
    for deployment in app.get("deployments") or []:
        scaling = deployment.get("autoscaling_config") or {}
        fixed = deployment.get("num_replicas")
        if scaling or fixed == "auto":
            maximum = scaling.get("max_replicas", 100 if fixed == "auto" else 1)
            found[deployment["name"]] = (int(scaling.get("min_replicas", 1)), int(maximum))
        else:
            found[deployment["name"]] = (int(fixed or 1), int(fixed or 1))
    return found


def is_embedded(app: Json) -> bool:
    """Whether an application serves the embedded model, whose answer to the known image is known."""
    arguments = app.get("args") or {}
    environment = (app.get("runtime_env") or {}).get("env_vars") or {}
    return str(arguments.get("model") or environment.get("CAPSTAN_MODEL") or EMBEDDED) == EMBEDDED


def _cluster_name(service: Json | None, side: str) -> str:
    status = (service or {}).get("status") or {}
    return str((status.get(side) or {}).get("rayClusterName") or "")
