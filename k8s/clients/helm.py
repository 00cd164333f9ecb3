"""The Helm release: what would be rendered, what is installed, and its revisions."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from k8s.clients.chart import Values
from k8s.clients.kubeconfig import Location
from k8s.clients.process import Processes
from k8s.errors import (
    INSTALL_KUBERAY,
    CapstanError,
    ClusterError,
    RefusedError,
    ToolError,
    UnreachableError,
    UsageError,
)

HELM_TIMEOUT_S = 120.0
KEPT_REVISIONS = 20
PENDING = ("pending-install", "pending-upgrade", "pending-rollback")

UNREACHABLE = re.compile(r"Kubernetes cluster unreachable: (?:Get \"[^\"]*\": )?(.*)", re.DOTALL)
IN_TEMPLATE = re.compile(r"execution error at \([^)]*\): (.*)", re.DOTALL)
IN_VALUES = re.compile(r"(failed parsing --set.*|failed to parse .*: error converting YAML.*)", re.DOTALL)
FRACTION_HINT = "; Helm reads a fraction after --set as text: write it into a values file (-f)"
SCHEMA_ERROR = re.compile(r"^- (.+)$", re.MULTILINE)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, from `helm history`."""

    number: int
    status: str
    updated: str
    chart: str
    description: str


class Release:
    """One release of the chart in one namespace. Its methods raise ToolError where helm fails."""

    def __init__(self, processes: Processes, location: Location, namespace: str) -> None:
        self.name = location.release
        self.namespace = namespace
        self._processes = processes
        self._flags = ["--namespace", namespace]
        if location.context:
            self._flags += ["--kube-context", location.context]
        if location.kubeconfig:
            self._flags += ["--kubeconfig", str(location.kubeconfig)]

    def render(self, chart: Path, values: Values) -> list[Json]:
        """The objects that an upgrade with these values would apply, checked by the API server."""
        flags = ["--dry-run=server", "--hide-secret", "--output", "json"]
        out = self._helm(*self._upgrade(chart, values), *flags)
        return documents(json.loads(out).get("manifest", ""))

    def upgrade(self, chart: Path, values: Values, description: str) -> int:
        """Install or upgrade, without waiting for pods. Returns the revision's number.

        Without hooks, as the chart's own only does what a rollout does.
        """
        flags = ["--no-hooks", "--description", description, "--output", "json"]
        out = self._helm(*self._upgrade(chart, values), *flags)
        return int(json.loads(out)["version"])

    def rollback(self, revision: int) -> None:
        """Apply a former revision as a new one."""
        flags = ["--no-hooks", "--history-max", str(KEPT_REVISIONS)]
        self._helm("rollback", self.name, str(revision), *flags)

    def uninstall(self) -> None:
        """Remove the release and its objects."""
        self._helm("uninstall", self.name, "--ignore-not-found")

    def history(self) -> list[Revision]:
        """The revisions that Helm keeps, oldest first; empty where the release does not exist."""
        try:
            found = json.loads(self._helm("history", self.name, "--output", "json"))
        except ToolError as error:
            if "not found" in str(error):
                return []
            raise
        return [
            Revision(int(r["revision"]), r["status"], r["updated"], r["chart"], r.get("description", ""))
            for r in found
        ]

    def others(self) -> list[str]:
        """The releases of this chart in the namespace."""
        found = json.loads(self._helm("list", "--all", "--output", "json"))
        return sorted(r["name"] for r in found if str(r["chart"]).startswith("capstan-"))

    def manifest(self, revision: int | None = None) -> list[Json]:
        """The objects of a revision, else of the newest; empty where the release does not exist."""
        which = ["--revision", str(revision)] if revision else []
        try:
            return documents(self._helm("get", "manifest", self.name, *which))
        except ToolError as error:
            if "not found" in str(error):
                return []
            raise

    def values(self, revision: int | None = None) -> Json:
        """The values of a revision, with the chart's defaults."""
        which = ["--revision", str(revision)] if revision else []
        found: Json = json.loads(self._helm("get", "values", self.name, "--all", *which, "--output", "json"))
        return found

    def _upgrade(self, chart: Path, values: Values) -> list[str]:
        # Without a file the former values stay; with one, only the file and the chart's defaults count.
        keep = "--reset-values" if values.files else "--reset-then-reuse-values"
        return [
            "upgrade",
            self.name,
            str(chart),
            "--install",
            keep,
            *values.arguments(),
            "--history-max",
            str(KEPT_REVISIONS),
        ]

    def _helm(self, *arguments: str) -> str:
        try:
            return self._processes.run("helm", [*arguments, *self._flags], timeout_s=HELM_TIMEOUT_S)
        except ToolError as error:
            raise explain(error) from None


def documents(text: str) -> list[Json]:
    """The objects in a stream of YAML documents."""
    return [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]


def last_deployed(history: Sequence[Revision]) -> int | None:
    """The newest revision that Helm calls deployed or superseded, or None."""
    good = [r.number for r in history if r.status in ("deployed", "superseded")]
    return max(good, default=None)


def stuck(history: Sequence[Revision]) -> bool:
    """Whether a helm process died halfway, so that Helm refuses every upgrade."""
    return bool(history) and history[-1].status in PENDING


def explain(error: ToolError) -> CapstanError:
    """The error behind helm's message: a wrong value is a UsageError, an absent server unreachable."""
    message = str(error)
    if 'no matches for kind "RayService"' in message:
        return RefusedError(
            f"the cluster has no kind RayService: KubeRay is not installed; {INSTALL_KUBERAY}"
        )
    if found := UNREACHABLE.search(message):
        if "provide credentials" in message:
            return ClusterError(
                "the API server refused (401): log in again, or choose another --context", 401
            )
        return UnreachableError(f"the API server does not answer ({found[1].strip()})")
    if "don't meet the specifications of the schema" in message:
        hint = FRACTION_HINT if "Expected: number, given: string" in message else ""
        return UsageError(
            f"the values do not fit the chart: {'; '.join(SCHEMA_ERROR.findall(message))}{hint}"
        )
    if found := IN_TEMPLATE.search(message) or IN_VALUES.search(message):
        return UsageError(f"the values do not fit the chart: {found[1].strip()}")
    return error
