"""What a change of a RayService does, told field by field and model by model. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Effect(IntEnum):
    """What a change does, from the least to the most."""

    NOTHING = 0
    IN_PLACE = 1
    CLUSTER_PATCH = 2
    REPLICA_RESTART = 3
    CLUSTER_UPDATE = 4
    IGNORED = 5
    NEW_CLUSTER = 6


SAID = {
    Effect.NOTHING: "nothing to do",
    Effect.IN_PLACE: "in place, no replica restarts",
    Effect.CLUSTER_PATCH: "KubeRay would ignore it; capstan patches the running RayCluster as well",
    Effect.REPLICA_RESTART: "replicas restart one after another on the same cluster",
    Effect.CLUSTER_UPDATE: "KubeRay adds the pool to the running cluster",
    Effect.IGNORED: "takes effect only with the next new cluster",
    Effect.NEW_CLUSTER: "a second cluster starts, takes over and the old one goes",
}

HIDDEN_FIELD = re.compile(r"env_vars|\.env\b|secret|token|password|keys?\b|args", re.IGNORECASE)
# A key of a toleration is no secret, so inside a value the names are fewer.
HIDDEN_INSIDE = re.compile(r"^(env|env_vars|args)$|secret|token|password|api_?keys?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs, what that does, and to which models (none named: to all)."""

    field: str
    before: Any
    after: Any
    effect: Effect
    models: tuple[str, ...] = ()

    def line(self) -> str:
        """The change as a line for a person. Values of environment variables and arguments stay out."""
        return f"{self.field}: {shown(self.field, self.before)} -> {shown(self.field, self.after)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, and the whole effect on each model."""

    changes: tuple[Change, ...]
    models: Mapping[str, Effect]
    first: bool = False
    restarts_alone: tuple[str, ...] = ()
    """Models whose only replica restarts before its successor is there."""

    @property
    def effect(self) -> Effect:
        """The largest effect there is."""
        return max((c.effect for c in self.changes), default=Effect.NOTHING)

    @property
    def new_cluster(self) -> bool:
        """Whether a second whole cluster starts."""
        return self.first or self.effect is Effect.NEW_CLUSTER

    def lines(self) -> list[str]:
        """The plan for a person."""
        if self.first:
            return ["first installation: a new cluster starts", *(f"  {m}: new" for m in self.models)]
        if not self.changes:
            return ["nothing to do: what runs is what is wanted"]
        found = [f"{SAID[self.effect]}:"]
        found += [f"  {model}: {SAID[effect]}" for model, effect in sorted(self.models.items())]
        found += [f"  - {c.line()} ({SAID[c.effect]})" for c in self.changes]
        found += [
            f"  ! {model} has one replica and no surge: it does not answer while that restarts"
            for model in self.restarts_alone
        ]
        return found


def shown(field: str, value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    """A value for a person: short, and hidden where it may be a secret."""
    if value is None:
        return "(none)"
    if _hides(value) or (HIDDEN_FIELD.search(field) and not isinstance(value, int | float | bool)):
        return "(set)"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _hides(value: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    """Whether there is a field inside a value that nobody may see."""
    if isinstance(value, Mapping):
        return any(HIDDEN_INSIDE.search(str(key)) or _hides(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_hides(inner) for inner in value)
