"""The checks of `capstan doctor`, pure: objects of the API in, findings out."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from k8s.rules import headroom
from k8s.rules.failures import IMAGE_REASONS
from k8s.state.objects import Pod

Json = Mapping[str, Any]

OLDEST_KUBERNETES = (1, 29)
OLDEST_KUBERAY = (1, 5)
TESTED_KUBERAY = "1.7"
DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"


class Level(Enum):
    """How a check ended."""

    WELL = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it."""

    level: Level
    sentence: str
    fix: str = ""

    def line(self) -> str:
        """The finding as one line."""
        return f"{self.level.value:<8} {self.sentence}" + (f" -> {self.fix}" if self.fix else "")


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


def ingress(classes: Sequence[Json], wanted: Sequence[Json]) -> Finding:
    """Whether the Ingress that the chart makes will be taken by a controller."""
    names = [c["metadata"]["name"] for c in classes]
    default = [c["metadata"]["name"] for c in classes if _annotated(c, DEFAULT_INGRESS)]
    asked = [o for o in wanted if o.get("kind") == "Ingress"]
    if not asked:
        return Finding(
            Level.WELL, f"no Ingress is asked for; the default class is {', '.join(default) or 'not set'}"
        )
    said = asked[0]["spec"].get("ingressClassName")
    if said and said not in names:
        return Finding(
            Level.MISSING,
            f"the ingress class {said!r} does not exist; there are {', '.join(names) or 'none'}",
            "set ingress.className to one of them, or install a controller",
        )
    if not said and not default:
        return Finding(
            Level.MISSING,
            f"an Ingress is asked for without a class, and no class is the default (there are "
            f"{', '.join(names) or 'none'})",
            "set ingress.className, or mark a class as the default",
        )
    return Finding(Level.WELL, f"the Ingress goes to class {said or default[0]}")


def gpus(nodes: Sequence[Json], pods: Sequence[Json], service: Json) -> list[Finding]:
    """The GPUs there are, and whether the pods that the chart wants would fit on an empty cluster."""
    rooms = headroom.rooms(nodes, pods)
    counted = headroom.account([], rooms).gpus
    found = [
        Finding(Level.WELL, f"{key}: {free} of {total} free on {sum(key in r.total for r in rooms)} nodes")
        for key, (free, total) in counted.items()
    ]
    if not counted:
        found.append(
            Finding(
                Level.WARNING,
                "no node offers a GPU",
                "install the device plugin, or serve on CPUs (gpusPerNode: 0)",
            )
        )
    if not service:
        return found
    empty = headroom.account(headroom.wants(service["spec"]["rayClusterConfig"]), headroom.rooms(nodes, []))
    for short in empty.short:
        fix = (
            "check nodeSelector, tolerations and resources of the pool"
            if not short.nodes
            else "add nodes, or ask for less"
        )
        found.append(Finding(Level.MISSING, f"even on an empty cluster: {short.sentence()}", fix))
    return found or [Finding(Level.WELL, "every pod fits on an empty cluster")]


def quotas(found: Sequence[Json]) -> list[Finding]:
    """The namespace's quotas that are nearly used up."""
    if not found:
        return [Finding(Level.WELL, "the namespace has no quota")]
    findings = []
    for quota in found:
        status = quota.get("status") or {}
        for key, hard in (status.get("hard") or {}).items():
            used = headroom.quantity((status.get("used") or {}).get(key, 0))
            limit = headroom.quantity(hard)
            full = used >= limit > 0 or limit == 0
            findings.append(
                Finding(
                    Level.WARNING if full else Level.WELL,
                    f"quota {quota['metadata']['name']}: {headroom.amount(key, used)} of "
                    f"{headroom.amount(key, limit)} used",
                    "ask for a larger quota: a rollout needs twice what serves" if full else "",
                )
            )
    return findings


def storage(classes: Sequence[Json], wanted: Sequence[Json]) -> Finding:
    """Whether the volumes that the chart asks for will be made."""
    names = [c["metadata"]["name"] for c in classes]
    default = [c["metadata"]["name"] for c in classes if _annotated(c, DEFAULT_STORAGE)]
    claims = [o for o in wanted if o.get("kind") == "PersistentVolumeClaim"]
    for claim in claims:
        said = claim["spec"].get("storageClassName")
        if claim["spec"].get("volumeName") or said == "":
            continue
        if said and said not in names:
            return Finding(
                Level.MISSING,
                f"the storage class {said!r} does not exist; there are {', '.join(names) or 'none'}",
                "name one that does",
            )
        if not said and not default:
            return Finding(
                Level.MISSING,
                f"volume {claim['metadata']['name']} names no storage class, and none is the default",
                "name one, or mark one as the default",
            )
    if not claims:
        return Finding(Level.WELL, "no volume is asked for")
    return Finding(Level.WELL, f"{len(claims)} volumes can be made")


def secrets_wanted(service: Json) -> dict[str, set[str]]:
    """The Secrets that the pods name, with the keys they want (none where only the Secret counts)."""
    wanted: dict[str, set[str]] = {}
    for spec in _pod_specs(service):
        for secret in spec.get("imagePullSecrets") or []:
            wanted.setdefault(secret["name"], set())
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            for variable in container.get("env") or []:
                ref = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if ref and not ref.get("optional"):
                    wanted.setdefault(ref["name"], set()).add(ref["key"])
        for volume in spec.get("volumes") or []:
            secret = volume.get("secret")
            if secret and not secret.get("optional"):
                wanted.setdefault(secret["secretName"], set()).update(
                    i["key"] for i in secret.get("items") or []
                )
    return wanted


def secrets(wanted: Mapping[str, set[str]], read: Callable[[str], Json | None]) -> list[Finding]:
    """Whether each Secret is there and holds its keys. Only names are looked at."""
    findings = []
    for name, keys in sorted(wanted.items()):
        found = read(name)
        missing = sorted(keys - set((found or {}).get("data") or {}))
        if found is None:
            findings.append(
                Finding(
                    Level.MISSING,
                    f"Secret {name} does not exist",
                    f"kubectl create secret generic {name} ...",
                )
            )
        elif missing:
            findings.append(
                Finding(Level.MISSING, f"Secret {name} has no key {', '.join(missing)}", "add it")
            )
        else:
            findings.append(Finding(Level.WELL, f"Secret {name} is there"))
    return findings


def images(service: Json, pods: Sequence[Json]) -> list[Finding]:
    """Whether a pod of this namespace runs the wanted images or failed to pull them."""
    wanted = {c["image"] for spec in _pod_specs(service) for c in spec.get("containers") or []}
    findings = []
    for image in sorted(wanted):
        states = [c for p in map(Pod.from_api, pods) for c in p.containers if c.image == image]
        if any(c.waiting in IMAGE_REASONS for c in states):
            findings.append(
                Finding(
                    Level.MISSING, f"image {image} cannot be pulled", "check the tag and imagePullSecrets"
                )
            )
        elif any(c.image_id for c in states):
            findings.append(Finding(Level.WELL, f"image {image} was pulled"))
        else:
            findings.append(Finding(Level.UNKNOWN, f"image {image} was not pulled in this namespace yet"))
        if image.rpartition(":")[2] == "latest" or ":" not in image.rpartition("/")[2]:
            findings.append(
                Finding(Level.WARNING, f"image {image} names no version", "pin a tag or a digest")
            )
    return findings


def _aged(where: str, tag: str) -> Finding:
    found = _version(tag)
    if found and found < OLDEST_KUBERAY:
        return Finding(
            Level.WARNING, f"{where}: older than 1.5", f"upgrade KubeRay; {TESTED_KUBERAY} is tested"
        )
    return Finding(Level.WELL, where)


def _annotated(found: Json, key: str) -> bool:
    return (found["metadata"].get("annotations") or {}).get(key) == "true"


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _pod_specs(service: Json) -> Iterator[Json]:
    cluster = (service.get("spec") or {}).get("rayClusterConfig") or {}
    for group in [cluster.get("headGroupSpec"), *(cluster.get("workerGroupSpecs") or [])]:
        if group:
            yield group["template"]["spec"]
