"""The Helm release: what would be rendered, what is installed, and which revisions there were."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from k8s.doors.helm_errors import explained
from k8s.doors.place import Place
from k8s.doors.process import Processes
from k8s.errors import ToolError, UsageError

HELM_TIMEOUT_S = 120.0
KEPT_REVISIONS = 20
PENDING = ("pending-install", "pending-upgrade", "pending-rollback")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Values:
    """What a command says about the chart's values: files first, then single values, later ones winning."""

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


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as `helm history` tells it."""

    number: int
    status: str
    updated: str
    chart: str
    description: str


def image_values(image: str) -> dict[str, str]:
    """The chart's values for an image: a tag, `repository:tag`, or `repository@sha256:...`.

    Raises UsageError where it is none of these.
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


def find_chart(said: Path | None) -> Path:
    """Return the chart at a path, else the one that is part of this installation.

    Raises UsageError where there is none.
    """
    # In a checkout k8s/chart is a symbolic link, which helm would warn about.
    chart = said or Path(str(files("k8s") / "chart")).resolve()
    if chart.is_file() or (chart / "Chart.yaml").is_file():
        return chart
    raise UsageError(f"no chart at {chart}; name its path with --chart")


class Release:
    """One release of the chart in one namespace. Its methods raise ToolError where helm fails."""

    def __init__(self, processes: Processes, place: Place, namespace: str) -> None:
        self.name = place.release
        self.namespace = namespace
        self._processes = processes
        self._place = ["--namespace", namespace]
        if place.context:
            self._place += ["--kube-context", place.context]
        if place.kubeconfig:
            self._place += ["--kubeconfig", str(place.kubeconfig)]

    def render(self, chart: Path, values: Values) -> list[Json]:
        """The objects that an upgrade with these values would apply, checked by the API server."""
        flags = ["--dry-run=server", "--hide-secret", "--output", "json"]
        out = self._helm(*self._upgrade(chart, values), *flags)
        return documents(json.loads(out).get("manifest", ""))

    def upgrade(self, chart: Path, values: Values, description: str) -> int:
        """Install or upgrade, without waiting for pods. Returns the revision's number."""
        out = self._helm(*self._upgrade(chart, values), "--description", description, "--output", "json")
        return int(json.loads(out)["version"])

    def rollback(self, revision: int) -> None:
        """Apply a former revision again, as a new one."""
        self._helm("rollback", self.name, str(revision), "--history-max", str(KEPT_REVISIONS))

    def uninstall(self) -> None:
        """Remove the release and what it owns."""
        self._helm("uninstall", self.name, "--ignore-not-found")

    def history(self) -> list[Revision]:
        """The revisions that Helm still has, oldest first; none where the release does not exist."""
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

    def neighbours(self) -> list[str]:
        """The releases of this chart in the same namespace."""
        found = json.loads(self._helm("list", "--all", "--output", "json"))
        return sorted(r["name"] for r in found if str(r["chart"]).startswith("capstan-"))

    def manifest(self, revision: int | None = None) -> list[Json]:
        """The objects of a revision, or of the newest one; none where the release does not exist."""
        which = ["--revision", str(revision)] if revision else []
        try:
            return documents(self._helm("get", "manifest", self.name, *which))
        except ToolError as error:
            if "not found" in str(error):
                return []
            raise

    def values(self, revision: int | None = None) -> Json:
        """The values that were set for a revision, chart defaults included."""
        which = ["--revision", str(revision)] if revision else []
        found: Json = json.loads(self._helm("get", "values", self.name, "--all", *which, "--output", "json"))
        return found

    def _upgrade(self, chart: Path, values: Values) -> list[str]:
        # Without a file, what was set before still holds; with one, file and chart are the whole truth.
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
            return self._processes.run("helm", [*arguments, *self._place], timeout_s=HELM_TIMEOUT_S)
        except ToolError as error:
            raise explained(error) from None


def documents(text: str) -> list[Json]:
    """The objects of a stream of YAML documents."""
    return [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]


def last_deployed(history: Sequence[Revision]) -> int | None:
    """The number of the newest revision that Helm holds for deployed or superseded, if any."""
    good = [r.number for r in history if r.status in ("deployed", "superseded")]
    return max(good, default=None)


def stuck(history: Sequence[Revision]) -> bool:
    """Whether a helm process died in the middle, so that Helm would refuse every upgrade."""
    return bool(history) and history[-1].status in PENDING
