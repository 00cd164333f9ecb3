"""The checks of the classes that the chart's objects name: of Ingresses and of storage."""

from collections.abc import Mapping, Sequence
from typing import Any

from k8s.rules.checks.finding import Finding, Level

Json = Mapping[str, Any]

DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"


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


def _annotated(found: Json, key: str) -> bool:
    return (found["metadata"].get("annotations") or {}).get(key) == "true"
