"""The client for pods."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from kubernetes.client import ApiClient, Configuration

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.errors import UnreachableError
from tests.support.interrupt import interrupt_once


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """An API server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10.0)
        yield server


def pods(server: socket.socket) -> Pods:
    """A client for pods behind `server`."""
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.getsockname()[1]}"
    return Pods(KubernetesClient(ApiClient(configuration), "default"))


def test_connecting_has_a_limit(silent: socket.socket) -> None:
    """A port-forward to an API server that does not answer fails after the time given for it."""
    with pytest.raises(UnreachableError, match="no port-forward to pod head:8265"):
        pods(silent).request("head", 8265, "/", timeout_s=0.1)


def test_interrupt_while_connecting(silent: socket.socket) -> None:
    """Ctrl-C while a port-forward connects ends the command; it is not taken for a failed connection."""
    connections = list[socket.socket]()

    def handshake() -> None:
        connections.append(silent.accept()[0])
        connections[0].recv(1)

    with interrupt_once(handshake), pytest.raises(KeyboardInterrupt):
        pods(silent).request("head", 8265, "/")
    connections[0].close()


def test_a_refusal_says_why(silent: socket.socket) -> None:
    """A port-forward that the API server refuses shows the status, not the whole answer."""

    def refuse() -> None:
        with closing(silent.accept()[0]) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nX-Secret: hidden\r\n\r\n")

    server = threading.Thread(target=refuse)
    server.start()
    with pytest.raises(UnreachableError, match=r"\(Handshake status 403 Forbidden\)"):
        pods(silent).request("head", 8265, "/")
    server.join(10.0)
