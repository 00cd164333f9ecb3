"""Helm: the chart and its values, what would be rendered, what is installed, and the revisions."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

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

KUBE_VERSION = re.compile(r"^kubeVersion: *[\"']?>= ?(\d+)\.(\d+)", re.MULTILINE)
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
class Values:
    """The chart's values on a command line: files first, then single values; later ones win."""

    files: tuple[Path, ...] = ()
    pairs: tuple[str, ...] = ()
    image: str | None = None
    extra: tuple[tuple[str, Any], ...] = field(default=())

    def arguments(self) -> list[str]:
        """The values as arguments of helm."""
        found: list[str] = []
        for file in self.files:
            found += ["--values", str(file)]
        for pair in self.pairs:
            found += ["--set", pair]
        if self.image is not None:
            for name, value in image_values(self.image).items():
                found += ["--set-string", f"{name}={value}"]
        for name, value in self.extra:
            found += ["--set-json", f"{name}={json.dumps(value)}"]
        return found


def image_values(image: str) -> dict[str, str]:
    """The chart's values for an image: a tag, `repository:tag` or `repository@sha256:...`.

    Raises UsageError for anything else.
    """
    if not image or image != image.strip() or any(c in image for c in " ,{}"):
        raise UsageError(f"--image {image!r} is not a tag, repository:tag or repository@sha256:digest")
    if "@" in image:
        repository, _, digest = image.partition("@")
        return {"image.repository": repository, "image.digest": digest, "image.tag": ""}
    repository, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return {"image.repository": repository, "image.tag": tag, "image.digest": ""}
    if "/" in image:
        raise UsageError(
            f"--image {image!r} has no tag; write {image}:TAG, so that a rollback knows what ran"
        )
    return {"image.tag": image, "image.digest": ""}


def minimum_kubernetes(chart: Path) -> tuple[int, int]:
    """The oldest Kubernetes of a chart's kubeVersion, `>=1.28.0-0`; (0, 0) where it has none or is packed."""
    path = chart / "Chart.yaml"
    found = KUBE_VERSION.search(path.read_text()) if path.is_file() else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_chart(path: Path | None) -> Path:
    """The chart at a path, else the one that is part of this installation.

    Raises UsageError where there is none.
    """
    # In a checkout k8s/chart is a symbolic link, which helm would warn about.
    chart = path or Path(str(files("k8s") / "chart")).resolve()
    if chart.is_file() or (chart / "Chart.yaml").is_file():
        return chart
    raise UsageError(f"no chart at {chart}; name its path with --chart")


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
