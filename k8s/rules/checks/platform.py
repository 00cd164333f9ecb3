"""The checks of what everything runs on: Kubernetes and KubeRay."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from k8s.rules.checks.finding import Finding, Level

Json = Mapping[str, Any]

OLDEST_KUBERNETES = (1, 29)
OLDEST_KUBERAY = (1, 5)
TESTED_KUBERAY = "1.7"


def kubernetes(version: Json) -> Finding:
    """The cluster's version."""
    found = _version(f"{version.get('major', '')}.{version.get('minor', '')}")
    said = f"Kubernetes {version.get('gitVersion', 'of an unknown version')}"
    if found and found < OLDEST_KUBERNETES:
        return Finding(Level.WARNING, f"{said} is older than 1.29", "upgrade the cluster")
    return Finding(Level.WELL, said)


def crd(name: str, found: Json | None) -> Finding:
    """One of KubeRay's definitions."""
    fix = "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
    if found is None:
        return Finding(Level.MISSING, f"the cluster does not know {name}: KubeRay is not installed", fix)
    if "v1" not in [v["name"] for v in found["spec"]["versions"] if v.get("served")]:
        return Finding(Level.MISSING, f"{name} has no version v1: KubeRay is too old", fix)
    return Finding(Level.WELL, f"{name} is there")


def operator(deployments: Sequence[Json], clusters: Sequence[Json]) -> Finding:
    """Whether KubeRay's operator runs, and which version."""
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"].get("containers") or []:
            if "kuberay" not in container.get("image", "") or "operator" not in container["image"]:
                continue
            tag = container["image"].rpartition(":")[2]
            where = f"KubeRay's operator {tag} in namespace {deployment['metadata'].get('namespace')}"
            if not (deployment.get("status") or {}).get("availableReplicas"):
                return Finding(Level.MISSING, f"{where} is not available", "kubectl describe its deployment")
            return _aged(where, tag)
    known = sorted(
        {(c["metadata"].get("annotations") or {}).get("ray.io/kuberay-version", "") for c in clusters} - {""}
    )
    if known:
        return _aged(
            f"no operator was found among the deployments, but {known[-1]} made the Ray clusters", known[-1]
        )
    return Finding(
        Level.WARNING,
        "no deployment of KubeRay's operator was found",
        "check that it runs; nothing rolls out without it",
    )


def _aged(where: str, tag: str) -> Finding:
    found = _version(tag)
    if found and found < OLDEST_KUBERAY:
        return Finding(
            Level.WARNING, f"{where}: older than 1.5", f"upgrade KubeRay; {TESTED_KUBERAY} is tested"
        )
    return Finding(Level.WELL, where)


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
