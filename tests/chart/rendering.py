"""Renders the chart with the helm binary and caches the result per values."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "capstan"
HELM = Path(sys.executable).with_name("helm")

Object = dict[str, Any]


class RefusedError(Exception):
    """Helm refused to render; the message is what it wrote to stderr."""


@dataclass(frozen=True)
class Rendered:
    """The objects of one render."""

    objects: tuple[Object, ...]

    def one(self, kind: str, name: str | None = None) -> Object:
        """Return the only object of a kind, or of a kind and name."""
        (found,) = [o for o in self.objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
        return found

    def kinds(self) -> set[str]:
        """Return the kinds of the objects."""
        return {o["kind"] for o in self.objects}

    @property
    def cluster(self) -> Object:
        """The RayService's rayClusterConfig."""
        config: Object = self.one("RayService")["spec"]["rayClusterConfig"]
        return config

    @property
    def serve(self) -> Object:
        """The Serve config, parsed."""
        config: Object = yaml.safe_load(self.one("RayService")["spec"]["serveConfigV2"])
        return config

    def application(self, name: str) -> Object:
        """Return one Serve application."""
        (found,) = [a for a in self.serve["applications"] if a["name"] == name]
        application: Object = found
        return application

    def deployment(self, name: str) -> Object:
        """Return the deployment of an application."""
        (found,) = self.application(name)["deployments"]
        deployment: Object = found
        return deployment

    def group(self, name: str) -> Object:
        """Return one worker group."""
        (found,) = [g for g in self.cluster["workerGroupSpecs"] if g["groupName"] == name]
        group: Object = found
        return group

    def worker(self, name: str) -> Object:
        """Return the pod spec of a worker group."""
        spec: Object = self.group(name)["template"]["spec"]
        return spec

    @property
    def head(self) -> Object:
        """The pod spec of the head."""
        spec: Object = self.cluster["headGroupSpec"]["template"]["spec"]
        return spec


def render(
    values: Object | None = None, *, release: str = "test", api_versions: tuple[str, ...] = ()
) -> Rendered:
    """Render these values. Raises RefusedError."""
    return _render(json.dumps(values or {}), release, api_versions)


@cache
def _render(values: str, release: str, api_versions: tuple[str, ...]) -> Rendered:
    text = render_text(values, release, api_versions)
    return Rendered(tuple(o for o in yaml.safe_load_all(text) if o))


def render_text(values: str, release: str, api_versions: tuple[str, ...] = ()) -> str:
    """Return the output of `helm template` for values in YAML. Raises RefusedError."""
    command = [HELM, "template", release, CHART, "--namespace", "space", "--values", "-"]
    versions = [f"--api-versions={version}" for version in api_versions]
    done = subprocess.run(  # noqa: S603 - the helm of the virtual environment
        [*command, *versions],
        input=values,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise RefusedError(done.stderr.strip())
    return done.stdout


def environment(container: Object) -> dict[str, str]:
    """Return the environment variables of a container that have a literal value."""
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}
