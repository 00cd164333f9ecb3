"""The chart and what a command sets of its values."""

import json
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from k8s.errors import UsageError

KUBE_VERSION = re.compile(r"^kubeVersion: *[\"']?>= ?(\d+)\.(\d+)", re.MULTILINE)


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
