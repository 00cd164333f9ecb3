"""Writes a chart package as an OCI image layout, which oras, skopeo and regctl copy to any registry.

Sources: OCI image layout 1.1; Helm's media types (https://helm.sh/docs/topics/registries/).
"""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import yaml

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def write_layout(package: Path, directory: Path) -> str:
    """Write a .tgz of `helm package` below `directory`; the digest of its manifest."""
    with tarfile.open(package) as archive:
        member = archive.extractfile("capstan/Chart.yaml")
        if member is None:
            raise ValueError(f"{package} has no capstan/Chart.yaml; make it with helm package")
        chart = yaml.safe_load(member.read())
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(blobs, CONFIG, json.dumps(chart).encode()),
        "layers": [_blob(blobs, LAYER, package.read_bytes())],
        "annotations": {
            "org.opencontainers.image.title": chart["name"],
            "org.opencontainers.image.version": chart["version"],
        },
    }
    found = _blob(blobs, MANIFEST, json.dumps(manifest).encode())
    found["annotations"] = {"org.opencontainers.image.ref.name": chart["version"]}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [found]}))
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return str(found["digest"])


def _blob(directory: Path, media_type: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (directory / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
