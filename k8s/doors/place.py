"""Where a command acts: which cluster, which namespace, which release."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """The cluster, the namespace and the Helm release that a command is about."""

    release: str = "capstan"
    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None
