"""An API server in memory: objects by path, with resource versions and preconditions."""

import copy
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kubernetes.client import ApiClient, Configuration

from k8s.clients.kubernetes import KubernetesClient
from tests.k8s.objects import Json

NAMESPACE = "captions"
LISTS = ("events", "pods", "rayclusters")


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self._body = json.dumps(body).encode()

    def read(self) -> bytes:
        return self._body


class ApiServer(ApiClient):
    """Answers like an API server. `before` runs before each request, as other clients and operators do."""

    def __init__(self) -> None:
        super().__init__(Configuration(host="https://api.example"))
        self.objects: dict[str, Json] = {}
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.away = False
        self._version = 0

    def client(self) -> KubernetesClient:
        return KubernetesClient(self, NAMESPACE)

    def put(self, path: str, found: Json) -> Json:
        """Store an object, with a new resource version."""
        self._version += 1
        meta = {"uid": f"uid-{path}", **found.get("metadata", {}), "resourceVersion": str(self._version)}
        self.objects[path] = {**copy.deepcopy(found), "metadata": meta}
        return self.objects[path]

    def call_api(
        self, method: str, url: str, _headers: Any = None, body: Any = None, *_rest: Any, **_named: Any
    ) -> Answer:
        path = urlsplit(url).path
        self.requests.append((method, path))
        self.before(method, path)
        if self.away:
            raise urllib3.exceptions.ProtocolError("away")
        if method == "POST":
            return self._create(f"{path}/{body['metadata']['name']}", body)
        key = path.removesuffix("/status")
        if key not in self.objects and path.rpartition("/")[2] in LISTS:
            inside = [o for p, o in self.objects.items() if p.startswith(f"{path}/")]
            return Answer(200, {"items": inside})
        if key not in self.objects:
            return Answer(404, {"message": f"{path} not found"})
        return self._answer(method, key, body)

    def _answer(self, method: str, key: str, body: Any) -> Answer:
        if method == "DELETE" and self._agrees(key, (body or {}).get("preconditions") or {}):
            return Answer(200, self.objects.pop(key))
        if method == "PUT" and self._agrees(key, body["metadata"]):
            return Answer(200, self.put(key, body))
        if method == "PATCH" and self._agrees(key, body.get("metadata") or {}):
            return Answer(200, self.put(key, merged(self.objects[key], body)))
        if method == "GET":
            return Answer(200, self.objects[key])
        return Answer(409, {"message": "the object has been modified"})

    def _create(self, path: str, body: Json) -> Answer:
        if path in self.objects:
            return Answer(409, {"message": f"{path} exists"})
        return Answer(201, self.put(path, body))

    def _agrees(self, key: str, expected: Json) -> bool:
        meta = self.objects[key]["metadata"]
        return all(meta[name] == expected[name] for name in ("uid", "resourceVersion") if name in expected)


def merged(found: Any, patch: Any) -> Any:
    """A value with a merge patch applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
