"""The client of the Kubernetes API: objects as the API returns them, or an error in one sentence."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import urllib3

from k8s.clients.kubeconfig import Location, load_configuration
from k8s.clients.process import redact
from k8s.clients.retry import Retry
from k8s.errors import ClusterError, UnreachableError, UsageError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT_S = 10.0
RAY = "/apis/ray.io/v1"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
DRY_RUN = {"dryRun": "All"}
IDEMPOTENT = ("GET", "PATCH", "DELETE")
# The client returns 0 for a broken TLS connection; 500 is a server without its store.
TRANSIENT = (0, 429, 500, 502, 503, 504)

Json = dict[str, Any]


class KubernetesClient:
    """A connection to one API server, with a limit of 10 s on every call.

    Idempotent calls (get, merge patch, delete) are retried as `retry` says. `guard` runs before every write
    and raises where writes are no longer allowed. Every method raises
    UnreachableError (no answer) and ClusterError (an answer that is an error).
    """

    def __init__(
        self,
        api: "ApiClient",
        namespace: str,
        retry: Retry | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.namespace = namespace
        self.api = api
        self.guard = guard or _allow
        self._retry = retry or Retry()
        self._server = f"the API server {api.configuration.host}"

    @classmethod
    def connect(cls, location: Location) -> Self:
        """A client for a kubeconfig's context, or for the cluster that this pod runs in.

        Raises UsageError where there is no such configuration.
        """
        from kubernetes.client import ApiClient  # noqa: PLC0415 - takes a second, which --help does not have

        configuration, namespace = load_configuration(location)
        configuration.retries = False
        return cls(ApiClient(configuration), location.namespace or namespace)

    def with_options(self, retry: Retry, guard: Callable[[], None] | None = None) -> "KubernetesClient":
        """The same connection with other retries and another guard."""
        return KubernetesClient(self.api, self.namespace, retry, guard)

    @property
    def core(self) -> str:
        """The path of this namespace's core objects."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def ray(self) -> str:
        """The path of this namespace's Ray objects."""
        return f"{RAY}/namespaces/{self.namespace}"

    def get(self, path: str, **query: str) -> Json:
        """An object, or the answer to a list."""
        found: Json = json.loads(self._call("GET", path, query=query))
        return found

    def find(self, path: str) -> Json | None:
        """An object, or None where it does not exist."""
        try:
            return self.get(path)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def has_namespace(self) -> bool:
        """Whether the namespace exists; an account that may not read it has been given one that does."""
        try:
            return self.find(f"/api/v1/namespaces/{self.namespace}") is not None
        except ClusterError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            return True

    def items(self, path: str, selector: str = "") -> list[Json]:
        """The objects of a list that match a label selector."""
        query = {"labelSelector": selector} if selector else {}
        return list(self.get(path, **query).get("items") or [])

    def text(self, path: str, **query: str) -> str:
        """An answer that is not JSON, such as a pod's log."""
        return self._call("GET", path, query=query).decode(errors="replace")

    def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object; with `dry_run` nothing is stored. Status 409: it exists already."""
        query = DRY_RUN if dry_run else None
        stored: Json = json.loads(self._call("POST", path, body=body, query=query))
        return stored

    def replace(self, path: str, body: Json) -> Json:
        """Replace an object. Status 409: it changed since it was read."""
        stored: Json = json.loads(self._call("PUT", path, body=body))
        return stored

    def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Merge the body into an object (RFC 7386); with `dry_run` nothing is stored."""
        query = DRY_RUN if dry_run else None
        answer = self._call("PATCH", path, body=body, query=query, content_type=MERGE_PATCH)
        stored: Json = json.loads(answer)
        return stored

    def upsert(self, collection: str, body: Json) -> Json:
        """Merge the body into the object that it names, or create it. Nulls remove fields."""
        path = f"{collection}/{body['metadata']['name']}"

        def patch_or_create() -> Json:
            try:
                return self.patch(path, body)
            except ClusterError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
            return self.create(collection, _without_nulls(body))

        return self._retry.run(patch_or_create)

    def delete(self, path: str, *, expected: Json | None = None) -> None:
        """Delete an object and, in the background, what it owns. One that is gone already is fine.

        With `expected`, only if it is still that very object. Status 409: it changed since it was read.
        """
        options: Json = {"propagationPolicy": "Background"}
        if expected is not None:
            meta = expected["metadata"]
            options["preconditions"] = {name: meta[name] for name in ("uid", "resourceVersion")}
        try:
            self._call("DELETE", path, body=options)
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> bytes:
        def call() -> bytes:
            return self._call_once(method, path, body=body, query=query, content_type=content_type)

        return self._retry.run(call) if method in IDEMPOTENT else call()

    def _call_once(
        self, method: str, path: str, *, body: Json | None, query: Mapping[str, str] | None, content_type: str
    ) -> bytes:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - see connect

        if method != "GET":
            self.guard()
        serialized = self.api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self.api.call_api(*serialized, _request_timeout=TIMEOUT_S)
            data: bytes = answer.read() or b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{self._server} does not answer ({_reason(error)})") from None
        except ApiException as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error.reason):
                message = f"the certificate of {self._server} cannot be verified; check the kubeconfig"
                raise UsageError(message) from None
            raise error_for(int(error.status or 0), _bytes(error.body)) from None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise error_for(int(answer.status), data)
        return data


def _allow() -> None:
    pass


def error_for(status: int, body: bytes) -> ClusterError | UnreachableError:
    """The error for an HTTP status: UnreachableError where the server is starting, stopping or overloaded."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    if status in TRANSIENT:
        said = redact(f": {message}" if message else "")
        return UnreachableError(f"the API server does not answer ({status or 'connection broken'}){said}")
    hint = "; log in again, or choose another --context" if status == HTTPStatus.UNAUTHORIZED else ""
    reason = redact(f"the API server refused ({status}): {message or 'it gave no reason'}")
    return ClusterError(reason + hint, status)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else type(error).__name__


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else str(body or "").encode()


def _without_nulls(body: Json) -> Json:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in body.items()
        if value is not None
    }
