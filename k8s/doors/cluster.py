"""The one door to the Kubernetes API: objects as the API gives them, or an error in one sentence."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from k8s.doors.kubeconfig import load
from k8s.doors.place import Place
from k8s.doors.process import redact
from k8s.errors import ClusterError, UnreachableError, UsageError

TIMEOUT_S = 10.0
RAY = "/apis/ray.io/v1"
MERGE_PATCH = "application/merge-patch+json"
DRY_RUN = {"dryRun": "All"}
# The client gives 0 for a TLS connection that broke; 500 is what a server without its store says.
PASSING = (0, 429, 500, 502, 503, 504)

Json = dict[str, Any]


class Cluster:
    """A connection to one API server, with a time limit of 10 s on every call.

    Every method raises UnreachableError (no answer) and ClusterError (an answer that is an error).
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._api = api
        self._server = f"the API server {api.configuration.host}"

    @classmethod
    def connect(cls, place: Place) -> Self:
        """The cluster of a kubeconfig's context, or the one this pod runs in.

        Raises UsageError where there is no such configuration.
        """
        settings, namespace = load(place)
        settings.retries = False
        return cls(client.ApiClient(settings), place.namespace or namespace)

    @property
    def core(self) -> str:
        """The path of this namespace's core objects."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def ray(self) -> str:
        """The path of this namespace's Ray objects."""
        return f"{RAY}/namespaces/{self.namespace}"

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of the API server's answer."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        serialized = self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._api.call_api(*serialized, _request_timeout=TIMEOUT_S)
            data: bytes = answer.read() or b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{self._server} does not answer ({_why(error)})") from None
        except ApiException as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error.reason):
                raise UsageError(
                    f"the certificate of {self._server} cannot be verified; check the kubeconfig"
                ) from None
            raise refusal(int(error.status or 0), _body(error)) from None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(int(answer.status), data)
        return data

    def get(self, path: str, **query: str) -> Json:
        """One object, or a list's answer."""
        found: Json = json.loads(self.call("GET", path, query=query))
        return found

    def find(self, path: str) -> Json | None:
        """One object, or None where there is none."""
        try:
            return self.get(path)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def items(self, path: str, selector: str = "") -> list[Json]:
        """The objects of a list, of those labels."""
        query = {"labelSelector": selector} if selector else {}
        return list(self.get(path, **query).get("items") or [])

    def text(self, path: str, **query: str) -> str:
        """An answer that is not JSON, such as a pod's log."""
        return self.call("GET", path, query=query).decode(errors="replace")

    def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object; a ClusterError of status 409 says that it is there already.

        With `dry_run` nothing is stored; the answer is what would be.
        """
        made: Json = json.loads(self.call("POST", path, body=body, query=DRY_RUN if dry_run else None))
        return made

    def replace(self, path: str, body: Json) -> Json:
        """Replace an object; a ClusterError of status 409 says that somebody else was faster."""
        made: Json = json.loads(self.call("PUT", path, body=body))
        return made

    def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Merge the body over an object (RFC 7386); with `dry_run` nothing is stored."""
        query = DRY_RUN if dry_run else None
        made: Json = json.loads(self.call("PATCH", path, body=body, query=query, content_type=MERGE_PATCH))
        return made

    def delete(self, path: str) -> None:
        """Delete an object and, in the background, what it owns. One that is gone already is fine."""
        try:
            self.call("DELETE", path, query={"propagationPolicy": "Background"})
        except ClusterError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    @property
    def api(self) -> client.ApiClient:
        """The client itself, for the door to pods."""
        return self._api


def refusal(status: int, body: bytes) -> ClusterError | UnreachableError:
    """The error for a status: UnreachableError for those that a server on its way down or up gives."""
    if status in PASSING:
        return UnreachableError(f"the API server does not answer ({status or 'connection broken'})")
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = body[:200].decode(errors="replace")
    hint = "; log in again, or choose another --context" if status == HTTPStatus.UNAUTHORIZED else ""
    reason = said or "it gave no reason"
    return ClusterError(redact(f"the API server refused ({status}): {reason}") + hint, status)


def _why(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else type(error).__name__


def _body(error: ApiException) -> bytes:
    return error.body if isinstance(error.body, bytes) else str(error.body or "").encode()
