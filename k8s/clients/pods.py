"""The client for pods: HTTP through a port-forward or directly, and logs.

A port-forward goes through the kubelet, so it works where this machine cannot reach pods, and where
NetworkPolicies forbid it. A pod of the cluster connects directly, so its account needs no right to forward.
"""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from k8s.clients.background import in_background
from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.process import redact
from k8s.errors import ClusterError, UnreachableError

if TYPE_CHECKING:
    from kubernetes.stream.ws_client import PortForward

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
    """HTTP and logs of the pods in one namespace; `direct` connects to their addresses."""

    def __init__(self, client: KubernetesClient, *, direct: bool = False) -> None:
        self._client = client
        self._direct = direct

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
        connect = self._connected if self._direct else self._forwarded
        try:
            with connect(pod, port, timeout_s) as opened:
                opened.settimeout(timeout_s)
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
                connection.sock = opened
                connection.request(
                    method, path, body=body, headers={"Connection": "close", **(headers or {})}
                )
                answer = connection.getresponse()
                return Answer(answer.status, answer.read())
        except (http.client.HTTPException, OSError) as error:
            raise UnreachableError(f"pod {pod}:{port} does not answer ({type(error).__name__})") from None

    def dashboard(self, head: str, token: str | None) -> dict[str, Any] | None:
        """Serve's applications from a head pod's dashboard; None where it does not answer yet."""
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
        """The last lines of a container's log, or of its `previous` run; empty where there is none."""
        query = {"tailLines": str(lines), "previous": str(previous).lower()}
        if container:
            query["container"] = container
        path = f"{self._client.core}/pods/{pod}/log"
        try:
            return self._client.text(path, **query).splitlines()
        except ClusterError:
            return []

    @contextmanager
    def _connected(self, pod: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
        found = self._client.get(f"{self._client.core}/pods/{pod}")
        address = (found.get("status") or {}).get("podIP")
        if not address:
            raise UnreachableError(f"pod {pod} has no address yet")
        with socket.create_connection((address, port), timeout_s) as opened:
            yield opened

    @contextmanager
    def _forwarded(self, pod: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
        with closing(self._forward(pod, port, timeout_s)) as forward:
            yield forward.socket(port)

    def _forward(self, pod: str, port: int, timeout_s: float) -> "PortForward":
        import websocket  # noqa: PLC0415 - the client takes a second, which --help does not have
        from kubernetes.client import ApiClient, CoreV1Api  # noqa: PLC0415
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from kubernetes.stream import portforward  # noqa: PLC0415

        # A port-forward replaces a method of its ApiClient while it connects, so it gets its own.
        core = CoreV1Api(ApiClient(self._client.api.configuration))
        connect = core.connect_get_namespaced_pod_portforward
        try:
            return _connect(
                lambda: portforward(connect, pod, self._client.namespace, ports=str(port)), timeout_s
            )
        except (ApiException, websocket.WebSocketException, OSError) as error:
            # A refused handshake has all of the answer behind its status.
            reason = str(getattr(error, "reason", None) or type(error).__name__).partition(" -+-+- ")[0]
            raise UnreachableError(f"no port-forward to pod {pod}:{port} ({redact(reason)})") from None


def _connect(connect: Callable[[], "PortForward"], timeout_s: float) -> "PortForward":
    """Connect in a thread, and give up after `timeout_s` seconds or on Ctrl-C.

    The client itself sets no limit for the handshake, and reports an interrupt as a failed connection.
    """
    found = in_background(connect)
    try:
        return found.result(timeout_s)
    except BaseException:
        found.add_done_callback(_close)
        raise


def _close(abandoned: "Future[PortForward]") -> None:
    if abandoned.exception() is None:
        abandoned.result().close()
