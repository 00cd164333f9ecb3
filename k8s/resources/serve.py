"""Serve's status of a Ray cluster: what the dashboard answers to `GET /api/serve/applications/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Json = Mapping[str, Any]

RUNNING = "RUNNING"
HEALTHY = "HEALTHY"


@dataclass(frozen=True, slots=True)
class ServeReplica:
    """A replica: its state, its Ray node's address, its log file and its actor."""

    id: str
    state: str
    ip: str
    log: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class ServeDeployment:
    """A deployment: how many replicas Serve aims at, and those it has."""

    name: str
    status: str
    message: str
    target_replicas: int
    replicas: tuple[ServeReplica, ...] = ()

    @property
    def running(self) -> int:
        """How many replicas run."""
        return sum(r.state == RUNNING for r in self.replicas)


@dataclass(frozen=True, slots=True)
class ServeApplication:
    """An application: its state and the config that Serve works towards."""

    name: str
    status: str
    message: str
    config: Json
    deployed_at: float = 0.0
    deployments: tuple[ServeDeployment, ...] = ()

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse one entry of the dashboard's answer."""
        return cls(
            found["name"],
            found.get("status", ""),
            found.get("message", ""),
            found.get("deployed_app_config") or {},
            found.get("last_deployed_time_s") or 0.0,
            tuple(_deployment(d) for d in (found.get("deployments") or {}).values()),
        )


def applications(answer: Json) -> tuple[ServeApplication, ...]:
    """The applications in the dashboard's answer."""
    found = answer.get("applications") or {}
    return tuple(ServeApplication.from_api({"name": name, **app}) for name, app in found.items())


def contains(deployed: Json, wanted: Json) -> bool:
    """Whether a deployed config has every field of the wanted one.

    Serve adds defaults and writes 1 as 1.0, so only the wanted fields are compared.
    """
    return all(_matches(deployed.get(key), value) for key, value in wanted.items())


def _matches(deployed: Any, wanted: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    if isinstance(wanted, Mapping):
        return isinstance(deployed, Mapping) and contains(deployed, wanted)
    if isinstance(wanted, list):
        return (
            isinstance(deployed, list)
            and len(deployed) == len(wanted)
            and all(_matches(d, w) for d, w in zip(deployed, wanted, strict=True))
        )
    return bool(deployed == wanted)


def _deployment(found: Json) -> ServeDeployment:
    return ServeDeployment(
        found.get("name", ""),
        found.get("status", ""),
        found.get("message", ""),
        found.get("target_num_replicas", 0),
        tuple(_replica(r) for r in found.get("replicas") or []),
    )


def _replica(found: Json) -> ServeReplica:
    return ServeReplica(
        found.get("replica_id", ""),
        found.get("state", ""),
        found.get("node_ip") or "",
        found.get("log_file_path") or "",
        found.get("actor_id") or "",
    )
