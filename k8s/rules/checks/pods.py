"""The checks of what the chart's pods name: Secrets with their keys, and images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from k8s.rules.checks.finding import Finding, Level
from k8s.rules.failures import IMAGE_REASONS
from k8s.state.objects import Pod

Json = Mapping[str, Any]


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


def _pod_specs(service: Json) -> Iterator[Json]:
    cluster = (service.get("spec") or {}).get("rayClusterConfig") or {}
    for group in [cluster.get("headGroupSpec"), *(cluster.get("workerGroupSpecs") or [])]:
        if group:
            yield group["template"]["spec"]
