"""Serve configs, and Serve's own account of a cluster: the dashboard's `GET /api/serve/applications/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

Json = Mapping[str, Any]

RUNNING = "RUNNING"
HEALTHY = "HEALTHY"
EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica: its state, the address of the Ray node it lives on, and its actor."""

    id: str
    state: str
    ip: str
    log: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: how many replicas it should have, and those it has."""

    name: str
    status: str
    message: str
    wanted: int
    replicas: tuple[Replica, ...] = ()

    @property
    def running(self) -> int:
        """How many replicas run."""
        return sum(r.state == RUNNING for r in self.replicas)


@dataclass(frozen=True, slots=True)
class App:
    """One application: its state and the configuration that Serve works towards."""

    name: str
    status: str
    message: str
    config: Json
    deployed_at: float = 0.0
    deployments: tuple[Deployment, ...] = ()

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """The application in one entry of the dashboard's answer."""
        return cls(
            found["name"],
            found.get("status", ""),
            found.get("message", ""),
            found.get("deployed_app_config") or {},
            found.get("last_deployed_time_s") or 0.0,
            tuple(_deployment(d) for d in (found.get("deployments") or {}).values()),
        )


def apps(answer: Json) -> tuple[App, ...]:
    """The applications in the dashboard's answer."""
    return tuple(App.from_api({"name": n, **a}) for n, a in (answer.get("applications") or {}).items())


def _deployment(found: Json) -> Deployment:
    replicas = tuple(
        Replica(
            r.get("replica_id", ""),
            r.get("state", ""),
            r.get("node_ip") or "",
            r.get("log_file_path") or "",
            r.get("actor_id") or "",
        )
        for r in found.get("replicas") or []
    )
    name, status = found.get("name", ""), found.get("status", "")
    return Deployment(name, status, found.get("message", ""), found.get("target_num_replicas", 0), replicas)


def config_of(service: Json) -> dict[str, Json]:
    """The applications of a RayService object's `serveConfigV2`, by name."""
    config = yaml.safe_load(service.get("spec", {}).get("serveConfigV2") or "") or {}
    return {app.get("name", "default"): app for app in config.get("applications") or []}


def replicas_wanted(app: Json) -> dict[str, tuple[int, int]]:
    """The least and the most replicas of each deployment that an application's config names."""
    found = {}
    for deployment in app.get("deployments") or []:
        scaling = deployment.get("autoscaling_config") or {}
        fixed = deployment.get("num_replicas")
        if scaling or fixed == "auto":
            most = scaling.get("max_replicas", 100 if fixed == "auto" else 1)
            found[deployment["name"]] = (int(scaling.get("min_replicas", 1)), int(most))
        else:
            found[deployment["name"]] = (int(fixed or 1), int(fixed or 1))
    return found


def is_embedded(app: Json) -> bool:
    """Whether an application serves the embedded model, whose answers are known."""
    arguments = app.get("args") or {}
    environment = (app.get("runtime_env") or {}).get("env_vars") or {}
    return str(arguments.get("model") or environment.get("CAPSTAN_MODEL") or EMBEDDED) == EMBEDDED


def takes(deployed: Json, wanted: Json) -> bool:
    """Whether Serve works towards the wanted config: all that the config says, it has.

    Serve may add defaults and write 1 as 1.0, so only what is wanted is compared.
    """
    return all(_same(deployed.get(key), value) for key, value in wanted.items())


def _same(deployed: Any, wanted: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    if isinstance(wanted, Mapping):
        return isinstance(deployed, Mapping) and takes(deployed, wanted)
    if isinstance(wanted, list):
        return (
            isinstance(deployed, list)
            and len(deployed) == len(wanted)
            and all(_same(d, w) for d, w in zip(deployed, wanted, strict=True))
        )
    return bool(deployed == wanted)
