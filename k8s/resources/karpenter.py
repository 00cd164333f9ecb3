"""Karpenter's NodePools (karpenter.sh/v1): the nodes each can create, and its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from k8s.resources.amounts import Amounts
from k8s.resources.quantity import quantity

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodePool:
    """A pool that creates nodes for pods that fit on none. An empty `limits` means no limit."""

    name: str
    labels: Mapping[str, str]
    requirements: Sequence[Json]
    taints: Sequence[Json]
    limits: Amounts
    used: Amounts
    ready: bool
    static: bool
    """Whether it keeps a fixed number of nodes."""

    @classmethod
    def from_api(cls, found: Json) -> Self:
        """Parse an API object."""
        spec, status = found["spec"], found.get("status") or {}
        template = spec["template"]
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
        return cls(
            name=found["metadata"]["name"],
            labels=(template.get("metadata") or {}).get("labels") or {},
            requirements=template["spec"].get("requirements") or [],
            taints=template["spec"].get("taints") or [],
            limits={k: quantity(v) for k, v in (spec.get("limits") or {}).items()},
            used={k: quantity(v) for k, v in (status.get("resources") or {}).items()},
            ready=conditions.get("Ready", "True") == "True",
            static=spec.get("replicas") is not None,
        )
