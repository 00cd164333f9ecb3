"""The wheel, built from the source distribution and installed where the checkout is out of sight."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import httpx
import pytest

from tests.support.server import ROOT, serve

pytestmark = pytest.mark.slow

SOURCES = ("client", "service", "k8s", "helm", "pyproject.toml", "README.md", "LICENSE")
TIMEOUT_SECONDS = 120
TOOLS = Path(sys.executable).parent
FIND_CHART = "from k8s.clients.helm import find_chart; print(find_chart(None))"


def run(command: list[str | Path], directory: Path) -> str:
    """Run a command outside the checkout and return its output."""
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(  # noqa: S603 - the commands below
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel in it, which sees the dependencies of this one."""
    source, built, home = (tmp_path_factory.mktemp(name) for name in ("source", "built", "home"))
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source)
    uv = TOOLS / "uv"
    # Without --wheel, uv builds the source distribution first and the wheel from that.
    run([uv, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "-o", built], source)
    (wheel,) = built.glob("capstan_serve-*.whl")
    venv.create(home / "environment", symlinks=True)
    installed = home / "environment" / "bin" / "python"
    run([uv, "pip", "install", "--offline", "--no-deps", "--python", installed, wheel], home)
    # Python reads no .pth files of a directory added like this, so the editable checkout stays out of sight.
    packages = next((home / "environment").glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return installed


def test_packages_come_from_the_wheel(python: Path, tmp_path: Path) -> None:
    """Both packages are the installed ones, and the checkout's other packages are absent."""
    code = "import importlib.util as u; print(*(getattr(u.find_spec(n), 'origin', None) for n in {}))"
    names = ("service", "k8s", "tests")
    service, k8s, tests = run([python, "-c", code.format(names)], tmp_path).split()
    assert Path(service).is_relative_to(python.parent.parent)
    assert Path(k8s).is_relative_to(python.parent.parent)
    assert tests == "None"


def test_commands(python: Path, tmp_path: Path) -> None:
    """`capstan` knows its version and explains `plan` and `caption`."""
    capstan = python.with_name("capstan")
    assert run([capstan, "--version"], tmp_path).startswith("capstan ")
    assert "--values" in run([capstan, "plan", "--help"], tmp_path)
    assert "--server" in run([capstan, "caption", "--help"], tmp_path)


def test_chart(python: Path, tmp_path: Path) -> None:
    """The chart that `capstan` finds without --chart is in the wheel, whole, and renders the same objects."""
    chart = Path(run([python, "-c", FIND_CHART], tmp_path).strip())
    assert chart.is_relative_to(python.parent.parent)
    original = ROOT / "helm" / "capstan"
    files = {p.relative_to(original) for p in original.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert files == {p.relative_to(chart) for p in chart.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    rendered, expected = (run([TOOLS / "helm", "template", "x", c], tmp_path) for c in (chart, original))
    assert rendered == expected


@pytest.mark.service
def test_captions(python: Path, tmp_path: Path) -> None:
    """The embedded model of the wheel captions an image."""
    config = ROOT / "examples" / "local.yaml"
    with serve(config, tmp_path / "serve.log", python=python, directory=tmp_path) as address:
        image = (ROOT / "examples" / "images" / "shapes.png").read_bytes()
        answer = httpx.post(f"{address}/caption", files={"image": image}, timeout=60)
    captions = json.loads((ROOT / "examples" / "images" / "captions.json").read_text())
    assert answer.json()["caption"] == captions["shapes.png"]
