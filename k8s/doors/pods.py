"""The door to what runs in pods: HTTP through a port-forward, and logs.

A port-forward goes through the kubelet, so it works where neither the API server nor this machine may reach
pods themselves, NetworkPolicies included.
"""

import http.client
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import websocket
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from k8s.doors.cluster import Cluster
from k8s.errors import ClusterError, UnreachableError

DASHBOARD_PORT = 8265
SERVE_PORT = 8000
# HAProxy's own Prometheus exporter.
HAPROXY_PORT = 9101
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes


class Pods:
    """HTTP and logs of the pods in one namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # A port-forward replaces a method of its client while it connects, so it has one of its own.
        self._core = client.CoreV1Api(client.ApiClient(cluster.api.configuration))

    def request(
        self,
        pod: str,
        port: int,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        """The answer of a pod's port. Raises UnreachableError without one within `timeout_s` seconds."""
        try:
            forward = portforward(
                self._core.connect_get_namespaced_pod_portforward,
                pod,
                self._cluster.namespace,
                ports=str(port),
                _request_timeout=timeout_s,
            )
        except (ApiException, websocket.WebSocketException, OSError) as error:
            raise UnreachableError(f"no port-forward to pod {pod}:{port} ({type(error).__name__})") from None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.sock = forward.socket(port)
            connection.sock.settimeout(timeout_s)
            connection.request(method, path, body=body, headers={"Connection": "close", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except (http.client.HTTPException, OSError) as error:
            raise UnreachableError(f"pod {pod}:{port} does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
            forward.close()

    def dashboard(self, head: str, token: str | None) -> dict[str, Any] | None:
        """Serve's applications as a head pod's dashboard tells them; None where it does not answer yet."""
        headers = {"x-ray-authorization": f"Bearer {token}"} if token else {}
        try:
            answer = self.request(head, DASHBOARD_PORT, "/api/serve/applications/", headers=headers)
        except UnreachableError:
            return None
        if answer.status != HTTPStatus.OK:
            return None
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def log(
        self, pod: str, container: str = "", *, lines: int = LOG_LINES, previous: bool = False
    ) -> list[str]:
        """The last lines of a container's log, of its former run where `previous`; none where it has none."""
        query = {"tailLines": str(lines), "previous": str(previous).lower()}
        if container:
            query["container"] = container
        path = f"{self._cluster.core}/pods/{pod}/log"
        try:
            return self._cluster.text(path, **query).splitlines()
        except ClusterError:
            return []
