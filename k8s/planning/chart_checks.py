"""The checks of `capstan doctor` on what the chart's objects name: classes, Secrets and images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from k8s.planning.cluster_checks import Finding, Level
from k8s.planning.failures import IMAGE_REASONS
from k8s.resources.pod import Pod

Json = Mapping[str, Any]

DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
# Storage classes do not say which access modes they have; these make disks that one node mounts.
DISK_PROVISIONERS = (
    "cinder.csi.openstack.org",
    "csi.hetzner.cloud",
    "disk.csi.azure.com",
    "dobs.csi.digitalocean.com",
    "ebs.csi.aws.com",
    "kubernetes.io/aws-ebs",
    "kubernetes.io/azure-disk",
    "kubernetes.io/gce-pd",
    "pd.csi.storage.gke.io",
    "rancher.io/local-path",
    "topolvm.io",
)
DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"


def check_ingress(classes: Sequence[Json], rendered: Sequence[Json]) -> Finding:
    """Check that a controller will take the chart's Ingress."""
    names, default = _names(classes), _defaults(classes, DEFAULT_INGRESS)
    ingresses = [o for o in rendered if o.get("kind") == "Ingress"]
    if not ingresses:
        return Finding(Level.OK, f"the chart has no Ingress; the default class is {default or 'not set'}")
    wanted = ingresses[0]["spec"].get("ingressClassName")
    if wanted and wanted not in names:
        return Finding(
            Level.MISSING,
            f"ingress class {wanted!r} does not exist; the classes are {', '.join(names) or 'none'}",
            "set ingress.className to one of them, or install a controller",
        )
    if not wanted and not default:
        return Finding(
            Level.MISSING,
            f"the Ingress names no class, and none is the default; the classes are "
            f"{', '.join(names) or 'none'}",
            "set ingress.className, or mark a class as the default",
        )
    return Finding(Level.OK, f"the Ingress goes to class {wanted or default}")


def check_storage(classes: Sequence[Json], rendered: Sequence[Json]) -> Finding:
    """Check that the chart's volumes can be provisioned."""
    names, default = _names(classes), _defaults(classes, DEFAULT_STORAGE)
    claims = [o for o in rendered if o.get("kind") == "PersistentVolumeClaim"]
    for claim in claims:
        wanted = claim["spec"].get("storageClassName")
        if claim["spec"].get("volumeName") or wanted == "":
            continue
        if wanted and wanted not in names:
            return Finding(
                Level.MISSING,
                f"storage class {wanted!r} does not exist; the classes are {', '.join(names) or 'none'}",
                "name an existing one",
            )
        if not wanted and not default:
            return Finding(
                Level.MISSING,
                f"volume {claim['metadata']['name']} names no storage class, and none is the default",
                "name one, or mark one as the default",
            )
        if disk := _disk_provisioner(classes, wanted or default, claim):
            return Finding(
                Level.MISSING,
                f"volume {claim['metadata']['name']} is ReadWriteMany, but storage class {wanted or default} "
                f"({disk}) makes disks for one node",
                "name a class that shares files, such as NFS, EFS, Filestore or Azure Files",
            )
    if not claims:
        return Finding(Level.OK, "the chart has no volume")
    return Finding(Level.OK, f"{len(claims)} volumes can be provisioned")


def required_secrets(service: Json) -> dict[str, set[str]]:
    """The Secrets that the pods name, with the keys they need (empty: any)."""
    found: dict[str, set[str]] = {}
    for spec in _pod_specs(service):
        for secret in spec.get("imagePullSecrets") or []:
            found.setdefault(secret["name"], set())
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            for variable in container.get("env") or []:
                ref = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if ref and not ref.get("optional"):
                    found.setdefault(ref["name"], set()).add(ref["key"])
        for volume in spec.get("volumes") or []:
            secret = volume.get("secret")
            if secret and not secret.get("optional"):
                keys = {item["key"] for item in secret.get("items") or []}
                found.setdefault(secret["secretName"], set()).update(keys)
    return found


def check_secrets(required: Mapping[str, set[str]], read: Callable[[str], Json | None]) -> list[Finding]:
    """Check that each Secret exists and has its keys. Values are never read."""
    return [_check_secret(name, keys, read(name)) for name, keys in sorted(required.items())]


def check_images(service: Json, pods: Sequence[Json]) -> list[Finding]:
    """Check whether pods of this namespace pulled the chart's images."""
    images = {c["image"] for spec in _pod_specs(service) for c in spec.get("containers") or []}
    containers = [c for p in map(Pod.from_api, pods) for c in p.containers]
    findings = []
    for image in sorted(images):
        states = [c for c in containers if c.image == image]
        if any(c.waiting in IMAGE_REASONS for c in states):
            fix = "check the tag and imagePullSecrets"
            findings.append(Finding(Level.MISSING, f"image {image} cannot be pulled", fix))
        elif any(c.image_id for c in states):
            findings.append(Finding(Level.OK, f"image {image} was pulled"))
        else:
            findings.append(Finding(Level.UNKNOWN, f"image {image} was not pulled in this namespace yet"))
        if image.rpartition(":")[2] == "latest" or ":" not in image.rpartition("/")[2]:
            findings.append(Finding(Level.WARNING, f"image {image} has no version", "pin a tag or a digest"))
    return findings


def _check_secret(name: str, keys: set[str], found: Json | None) -> Finding:
    if found is None:
        fix = f"kubectl create secret generic {name} ..."
        return Finding(Level.MISSING, f"Secret {name} does not exist", fix)
    if missing := sorted(keys - set(found.get("data") or {})):
        return Finding(Level.MISSING, f"Secret {name} has no key {', '.join(missing)}", "add it")
    return Finding(Level.OK, f"Secret {name} exists")


def _disk_provisioner(classes: Sequence[Json], name: str, claim: Json) -> str:
    """The provisioner of a claim for many pods, where it makes disks for one node; else empty."""
    if "ReadWriteMany" not in (claim["spec"].get("accessModes") or []):
        return ""
    provisioner = next((c.get("provisioner", "") for c in classes if c["metadata"]["name"] == name), "")
    return provisioner if provisioner in DISK_PROVISIONERS else ""


def _names(classes: Sequence[Json]) -> list[str]:
    return [c["metadata"]["name"] for c in classes]


def _defaults(classes: Sequence[Json], annotation: str) -> str:
    default = [c for c in classes if (c["metadata"].get("annotations") or {}).get(annotation) == "true"]
    return ", ".join(_names(default))


def _pod_specs(service: Json) -> Iterator[Json]:
    cluster = (service.get("spec") or {}).get("rayClusterConfig") or {}
    for group in [cluster.get("headGroupSpec"), *(cluster.get("workerGroupSpecs") or [])]:
        if group:
            yield group["template"]["spec"]
