"""`make release`."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.server import ROOT
from tools.image_sbom import LIST_PACKAGES, sbom
from tools.reference import VERSIONED

SECONDS = 120
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.slow
def test_a_release_is_whole(tmp_path: Path) -> None:
    """A release has the wheel, the chart as .tgz and OCI layout, an SBOM and right checksums."""
    environment = {name: value for name, value in os.environ.items() if name != "COSIGN_KEY"}
    out = tmp_path / "dist"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tools.release", "--out", str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is not signed: COSIGN_KEY is not set" in done.stdout
    sums = dict(line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    assert {f"capstan_serve-{VERSION}-py3-none-any.whl", f"capstan-{VERSION}.tgz"} <= sums.keys()
    for name, digest in sums.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    names = {
        component["name"]
        for component in json.loads((out / f"capstan-{VERSION}.cdx.json").read_text())["components"]
    }
    assert {"ray", "torch", "transformers"} <= names
    (entry,) = json.loads((out / "chart-oci" / "index.json").read_text())["manifests"]
    manifest = json.loads((out / "chart-oci/blobs" / entry["digest"].replace(":", "/")).read_text())
    layer = out / "chart-oci/blobs" / manifest["layers"][0]["digest"].replace(":", "/")
    assert layer.read_bytes() == (out / f"capstan-{VERSION}.tgz").read_bytes()


def test_an_image_has_an_sbom() -> None:
    """The SBOM of an image has the packages of Python and of its system, each once, and is valid."""
    listing = {
        "system": "debian",
        "python": [["ray", "2.60.0"], ["Flask_Cors", "5.0"], ["ray", "2.60.0"]],
        "packages": [["libc6", "2.41-12", "amd64"]],
    }
    document = sbom(json.dumps(listing), "registry.example.com/capstan", "0.1.0")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    found = json.loads(document)
    assert found["metadata"]["component"]["type"] == "container"
    assert sorted(part["purl"] for part in found["components"]) == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:pypi/flask-cors@5.0",
        "pkg:pypi/ray@2.60.0",
    ]


def test_the_packages_of_an_image_are_listed() -> None:
    """The program that runs in an image lists the packages of Python and of the system."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("this machine has no dpkg-query, as every image has")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", LIST_PACKAGES], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    found = json.loads(done.stdout)
    assert "ray" in {name for name, _ in found["python"]}
    assert "libc6" in {name for name, _, _ in found["packages"]}


def test_a_version_is_written_once() -> None:
    """Chart, documents and examples have the version of pyproject.toml, and CHANGELOG.md has an entry."""
    chart = yaml.safe_load((ROOT / "helm" / "capstan" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    pages = [(ROOT / name).read_text() for name in VERSIONED]
    found = {v for page in pages for v in re.findall(r"capstan:(\d+\.\d+\.\d+)", page)}
    assert found == {VERSION}
    assert f"\n## {VERSION} " in (ROOT / "CHANGELOG.md").read_text()


def test_public_continuous_integration_runs_the_same_commands() -> None:
    """The workflow runs the make targets of .ci/run, and no command of its own for them."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for target in re.findall(r"^make \w+$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE):
        assert target in commands
