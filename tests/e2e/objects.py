"""The objects of one namespace, read through the API server."""

import tempfile
from pathlib import Path
from typing import Any

from kubernetes import client, config, dynamic
from kubernetes.dynamic.resource import ResourceList

RECORDS = {"Endpoints", "EndpointSlice", "Event"}
# The client's own cache of kinds outlives a cluster, and the next one may have other kinds.
CACHE = tempfile.TemporaryDirectory(prefix="capstan-e2e-")


class Namespace:
    """A namespace of the cluster that KUBECONFIG names."""

    def __init__(self, name: str) -> None:
        self.name = name
        kinds = str(Path(CACHE.name) / "kinds.json")
        self._client = dynamic.DynamicClient(config.new_client_from_config(), cache_file=kinds)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None where there is none of that name."""
        try:
            found: dict[str, Any] = self._resource(kind).get(name=name, namespace=self.name).to_dict()
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind that have the labels of the selector."""
        found = self._resource(kind).get(namespace=self.name, label_selector=selector)
        return [item.to_dict() for item in found.items]

    def contents(self) -> set[str]:
        """Kind and name of all objects but those that Kubernetes writes as a record of others."""
        return {
            f"{resource.kind}/{item.metadata.name}"
            for resource in self._client.resources.search(namespaced=True)
            if not isinstance(resource, ResourceList)
            and "list" in (resource.verbs or ())
            and resource.kind not in RECORDS
            for item in resource.get(namespace=self.name).items
        }

    def create(self, body: dict[str, Any]) -> None:
        """Create an object."""
        self._resource(body["kind"]).create(body=body, namespace=self.name)

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        """The pods that are not on their way out."""
        return [pod for pod in self.all("Pod", selector) if not pod["metadata"].get("deletionTimestamp")]

    def _resource(self, kind: str) -> Any:
        version = {
            "RayService": "ray.io/v1",
            "RayCluster": "ray.io/v1",
            "Gateway": "gateway.networking.k8s.io/v1",
        }
        return self._client.resources.get(kind=kind, api_version=version.get(kind))
