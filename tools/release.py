"""`make release`: the wheel, the chart and the image of one version, with SBOMs, checksums and a signature.

`python -m tools.release --out dist [--image REPOSITORY:TAG --builder docker|podman|buildah]`
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.image_sbom import LIST_PACKAGES, sbom
from tools.oci_layout import write_layout

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: str | Path, stdin: str | None = None) -> str:
    """Run a command from the repository's root, show it, and return its output."""
    print("+", *command, file=sys.stderr)
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(  # noqa: S603 - the commands below
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        input=stdin,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"make release: {command[0]} ended with status {done.returncode}; its error is above")
    return done.stdout


def build_wheel(out: Path) -> None:
    """The source distribution and the wheel built from it."""
    run("uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", out)


def package_chart(out: Path) -> None:
    """The chart as a .tgz and as an OCI image layout."""
    run("helm", "package", "helm/capstan", "--destination", out)
    digest = write_layout(out / f"capstan-{VERSION}.tgz", out / "chart-oci")
    print(f"chart-oci: {digest}")


def write_requirements_sbom(requirements: str, target: Path) -> None:
    """A CycloneDX document of pinned requirements."""
    arguments = ("--output-format", "JSON", "--output-reproducible", "--output-file", target, "-")
    run("cyclonedx-py", "requirements", "--pyproject", "pyproject.toml", *arguments, stdin=requirements)


def save_image(out: Path, image: str, builder: str) -> None:
    """The image that `make image` has built as an archive, and its SBOM."""
    archive = out / f"capstan-image-{VERSION}.tar"
    archive.unlink(missing_ok=True)
    if builder == "docker":
        run("docker", "save", "--output", archive, image)
    else:
        run(builder, "push", "--quiet", image, f"oci-archive:{archive}")
    target = out / f"capstan-image-{VERSION}.cdx.json"
    if shutil.which("syft"):
        source = f"docker-archive:{archive}" if builder == "docker" else f"oci-archive:{archive}"
        run("syft", "scan", source, "--output", f"cyclonedx-json={target}")
        return
    target.write_text(sbom(_packages(image, builder), image.rpartition(":")[0], VERSION))


def _packages(image: str, builder: str) -> str:
    program = ("-c", LIST_PACKAGES)
    if builder != "buildah":
        return run(builder, "run", "--rm", "--network", "none", "--entrypoint", "python", image, *program)
    container = run("buildah", "from", "--pull-never", image).strip()
    try:
        return run("buildah", "run", "--isolation", "chroot", container, "--", "python", *program)
    finally:
        run("buildah", "rm", container)


def write_checksums(out: Path) -> Path:
    """SHA256SUMS of every file."""
    sums = out / "SHA256SUMS"
    sums.unlink(missing_ok=True)
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".gitignore")
    lines = []
    for path in files:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(out)}\n")
    sums.write_text("".join(lines))
    return sums


def sign(sums: Path, key: str | None) -> None:
    """Sign the checksums with cosign, where there is a key."""
    if key is None:
        print("SHA256SUMS is not signed: COSIGN_KEY is not set; set it to a cosign key to sign.")
        return
    signature = sums.with_name(sums.name + ".bundle")
    run("cosign", "sign-blob", "--yes", "--key", key, "--bundle", signature, sums)


def main() -> None:
    """Make a release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--image", help="the image to put in, with its tag; none without")
    parser.add_argument("--builder", default="docker", help="what built the image")
    given = parser.parse_args()
    out = given.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    build_wheel(out)
    package_chart(out)
    write_requirements_sbom((ROOT / "constraints.txt").read_text(), out / f"capstan-{VERSION}.cdx.json")
    if given.image:
        save_image(out, given.image, given.builder)
    sign(write_checksums(out), os.environ.get("COSIGN_KEY"))
    print(f"release {VERSION} is in {out}")


if __name__ == "__main__":
    main()
