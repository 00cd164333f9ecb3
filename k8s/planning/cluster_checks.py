"""The checks of `capstan doctor` on the cluster: Kubernetes, KubeRay, GPUs and quotas."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from k8s.errors import INSTALL_KUBERAY, TESTED_KUBERAY
from k8s.planning.autoscaling import Autoscaling
from k8s.planning.capacity import report_capacity
from k8s.planning.nodes import NodeCapacity, count_gpus, free_resources
from k8s.resources.pod import GPU
from k8s.resources.quantity import format_amount, quantity
from k8s.resources.rayservice import pod_demand

Json = Mapping[str, Any]

# The CRDs of older versions prune `authOptions.secretName`, and then nothing asks for a token.
OLDEST_KUBERAY = (1, 6)
# CUDA 13 needs it; GPU feature discovery writes the labels, of which the second is the former name.
OLDEST_DRIVER = 580
DRIVER_LABELS = ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major")
ORIGIN_KIND_LABEL = "ray.io/originated-from-crd"
RELEASE = re.compile(r"v?\d+\.\d+\.\d+(-\S+)?")
VERSION_ANNOTATION = "ray.io/kuberay-version"


class Level(Enum):
    """The result of a check."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and how to fix it."""

    level: Level
    sentence: str
    fix: str = ""

    def line(self) -> str:
        """The finding as one line."""
        return f"{self.level.value:<8} {self.sentence}" + (f" -> {self.fix}" if self.fix else "")


def check_kubernetes(version: Json, oldest: tuple[int, int]) -> Finding:
    """Check the cluster's version against the chart's minimum."""
    found = parse_version(f"{version.get('major', '')}.{version.get('minor', '')}")
    name = f"Kubernetes {version.get('gitVersion', 'of unknown version')}"
    if found and found < oldest:
        return Finding(Level.WARNING, f"{name} is older than {_dotted(oldest)}", "upgrade it")
    return Finding(Level.OK, name)


def check_crd(name: str, found: Json | None) -> Finding:
    """Check one of KubeRay's custom resource definitions."""
    if found is None:
        return Finding(Level.MISSING, f"{name} is not defined: KubeRay is not installed", INSTALL_KUBERAY)
    if "v1" not in [v["name"] for v in found["spec"]["versions"] if v.get("served")]:
        return Finding(Level.MISSING, f"{name} has no version v1: KubeRay is too old", INSTALL_KUBERAY)
    return Finding(Level.OK, f"{name} is defined")


def check_operator(
    deployments: Sequence[Json], ray_clusters: Sequence[Json], service: Json | None = None
) -> Finding:
    """Check that KubeRay's operator runs and is not too old for the service."""
    for deployment in deployments:
        tag = operator_version(deployment)
        if not tag:
            continue
        name = f"KubeRay's operator {tag} in namespace {deployment['metadata'].get('namespace')}"
        if not (deployment.get("status") or {}).get("availableReplicas"):
            return Finding(Level.MISSING, f"{name} is not available", "kubectl describe its deployment")
        if _drops_tokens(tag, service):
            sentence = f"{name} ignores the dashboard's token, so anyone who reaches it can run code"
            fix = f"upgrade KubeRay to {_dotted(OLDEST_KUBERAY)} or later; {TESTED_KUBERAY} is tested"
            return Finding(Level.MISSING, sentence, fix)
        sentences = operator_mismatches(tag, ray_clusters)
        if sentences:
            sentence = f"{name} did not make every Ray cluster: {'; '.join(sentences)}"
            return Finding(Level.WARNING, sentence, "wait until it has, then look at capstan plan")
        return _check_age(name, tag)
    used = max(
        ((c["metadata"].get("annotations") or {}).get(VERSION_ANNOTATION, "") for c in ray_clusters),
        default="",
    )
    if used:
        return _check_age(f"no operator among the deployments, but {used} made the Ray clusters", used)
    return Finding(
        Level.WARNING,
        "no deployment of KubeRay's operator was found",
        "check that it runs; nothing rolls out without it",
    )


def operator_version(deployment: Json) -> str:
    """The image tag of KubeRay's operator in a Deployment; empty where it is not the operator's."""
    for container in deployment["spec"]["template"]["spec"].get("containers") or []:
        image = container.get("image", "")
        if "kuberay" in image and "operator" in image:
            return str(image.rpartition(":")[2])
    return ""


def operator_mismatches(tag: str, ray_clusters: Sequence[Json]) -> list[str]:
    """One sentence for each RayCluster that an operator of another version made (shouldUpdateCluster).

    An image tag that is not a release, such as `nightly`, matches every version.
    """
    found = []
    for ray_cluster in ray_clusters:
        meta = ray_cluster["metadata"]
        made = (meta.get("annotations") or {}).get(VERSION_ANNOTATION, "")
        if (meta.get("labels") or {}).get(ORIGIN_KIND_LABEL) != "RayService":
            continue
        if RELEASE.fullmatch(tag) and RELEASE.fullmatch(made) and tag.lstrip("v") != made.lstrip("v"):
            found.append(
                f"KubeRay's operator {tag} overwrites RayCluster {meta['name']}, which {made} made, with the "
                "spec of its RayService: pod counts are reset, and a change that needs a new "
                "cluster does not start one"
            )
    return found


def check_gpus(
    nodes: Sequence[Json], pods: Sequence[Json], service: Json, autoscaling: Autoscaling | None = None
) -> list[Finding]:
    """Count the GPUs, and check that the chart's pods would fit on an empty cluster."""
    capacities = free_resources(nodes, pods)
    gpus = count_gpus(capacities)
    found = [
        Finding(Level.OK, f"{key}: {free} of {total} free on {sum(key in n.total for n in capacities)} nodes")
        for key, (free, total) in gpus.items()
    ]
    if not gpus:
        fix = "install the device plugin, or serve on CPUs (gpusPerNode: 0)"
        found.append(Finding(Level.WARNING, "no node offers a GPU", fix))
    if old := _old_drivers(nodes):
        fix = "upgrade the driver, or build the image on a base with an older CUDA"
        found.append(Finding(Level.WARNING, f"{old} is older than {OLDEST_DRIVER}, which CUDA 13 needs", fix))
    if service:
        found += _check_fit(service, free_resources(nodes, []), autoscaling)
    return found


def check_quotas(quotas: Sequence[Json]) -> list[Finding]:
    """Check for quotas of the namespace that are used up."""
    if not quotas:
        return [Finding(Level.OK, "the namespace has no quota")]
    findings = []
    for quota in quotas:
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            used = quantity((status.get("used") or {}).get(key, 0))
            limit = quantity(hard)
            full = used >= limit > 0 or limit == 0
            findings.append(
                Finding(
                    Level.WARNING if full else Level.OK,
                    f"quota {quota['metadata']['name']}: {format_amount(key, used)} of "
                    f"{format_amount(key, limit)} used",
                    "ask for a larger quota: a rollout needs twice what serves" if full else "",
                )
            )
    return findings


def parse_version(text: str) -> tuple[int, int] | None:
    """The major and minor number in a version, or None."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _drops_tokens(tag: str, service: Json | None) -> bool:
    cluster = ((service or {}).get("spec") or {}).get("rayClusterConfig") or {}
    version = parse_version(tag)
    asked = (cluster.get("authOptions") or {}).get("mode") == "token"
    return asked and version is not None and version < OLDEST_KUBERAY


def _old_drivers(nodes: Sequence[Json]) -> str:
    """The GPU nodes with drivers that are too old, and the oldest version; empty where there is none."""
    found = {}
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        version = next((labels[k] for k in DRIVER_LABELS if str(labels.get(k, "")).isdigit()), None)
        gpus = (node["status"].get("allocatable") or {}).get(GPU)
        if gpus and version is not None and int(version) < OLDEST_DRIVER:
            found[node["metadata"]["name"]] = int(version)
    return f"{', '.join(sorted(found))}: driver {min(found.values())}" if found else ""


def _check_fit(service: Json, nodes: list[NodeCapacity], autoscaling: Autoscaling | None) -> list[Finding]:
    report = report_capacity(pod_demand(service["spec"]["rayClusterConfig"]), nodes, autoscaling=autoscaling)
    level = Level.WARNING if report.fits else Level.MISSING
    found = [Finding(Level.OK, line) for line in report.growth]
    if report.shortages:
        found += [Finding(Level.UNKNOWN, f"new nodes may not fit: {line}") for line in report.unknown]
    for shortage in report.shortages:
        fix = (
            "check nodeSelector, tolerations and resources of the pool"
            if not shortage.nodes
            else "add nodes or request less"
        )
        sentence = f"not all pods fit, even on an empty cluster: {shortage.sentence()}"
        found.append(Finding(level, sentence, fix))
    return found or [Finding(Level.OK, "every pod fits on an empty cluster")]


def _check_age(name: str, tag: str) -> Finding:
    found = parse_version(tag)
    if found and found < OLDEST_KUBERAY:
        fix = f"upgrade KubeRay; {TESTED_KUBERAY} is tested"
        return Finding(Level.WARNING, f"{name}: older than {_dotted(OLDEST_KUBERAY)}", fix)
    return Finding(Level.OK, name)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
