"""What a change of a RayService does, field by field and model by model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Effect(IntEnum):
    """What a change does, from least to most disruptive."""

    NOTHING = 0
    IN_PLACE = 1
    CLUSTER_PATCH = 2
    REPLICA_RESTART = 3
    CLUSTER_UPDATE = 4
    IGNORED = 5
    NEW_CLUSTER = 6


SENTENCES = {
    Effect.NOTHING: "nothing to do",
    Effect.IN_PLACE: "in place, no replica restarts",
    Effect.CLUSTER_PATCH: "KubeRay ignores it, so capstan patches the running RayCluster as well",
    Effect.REPLICA_RESTART: "replicas restart one after another on the same cluster",
    Effect.CLUSTER_UPDATE: "KubeRay adds the pool to the running cluster",
    Effect.IGNORED: "takes effect only with the next new cluster",
    Effect.NEW_CLUSTER: "a second cluster starts, takes over, and the old one is deleted",
}

HIDDEN_FIELD = re.compile(r"env_vars|\.env\b|secret|token|password|keys?\b|args", re.IGNORECASE)
# A toleration's key is no secret, so fewer names count inside a value.
HIDDEN_INSIDE = re.compile(r"^(env|env_vars|args)$|secret|token|password|api_?keys?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs, the effect, and the models it concerns (empty: all)."""

    field: str
    before: Any
    after: Any
    effect: Effect
    models: tuple[str, ...] = ()

    def line(self) -> str:
        """The change as one line, without values of environment variables and arguments."""
        return (
            f"{self.field}: {format_value(self.field, self.before)} -> {format_value(self.field, self.after)}"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, and the largest effect on each model."""

    changes: tuple[Change, ...]
    models: Mapping[str, Effect]
    first: bool = False
    restarts_alone: tuple[str, ...] = ()
    """Models whose only replica stops before its successor starts."""

    @property
    def effect(self) -> Effect:
        """The largest effect."""
        return max((c.effect for c in self.changes), default=Effect.NOTHING)

    @property
    def new_cluster(self) -> bool:
        """Whether a second cluster starts."""
        return self.first or self.effect is Effect.NEW_CLUSTER

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        if self.first:
            return ["first installation: a new cluster starts", *(f"  {m}: new" for m in self.models)]
        if not self.changes:
            return ["nothing to do: the release is up to date"]
        found = [f"{SENTENCES[self.effect]}:"]
        found += [f"  {model}: {SENTENCES[effect]}" for model, effect in sorted(self.models.items())]
        found += [f"  - {c.line()} ({SENTENCES[c.effect]})" for c in self.changes]
        found += [
            f"  ! {model} has one replica and no surge: it does not answer during the restart"
            for model in self.restarts_alone
        ]
        return found


def format_value(field: str, value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    """A value in at most 60 characters, or `(set)` where it may be a secret."""
    if value is None:
        return "(none)"
    if _holds_secret(value) or (HIDDEN_FIELD.search(field) and not isinstance(value, int | float | bool)):
        return "(set)"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _holds_secret(value: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    if isinstance(value, Mapping):
        return any(HIDDEN_INSIDE.search(str(key)) or _holds_secret(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_holds_secret(inner) for inner in value)
