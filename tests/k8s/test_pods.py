"""The client for pods."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from kubernetes.client import ApiClient, Configuration

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.pods import Pods
from k8s.errors import UnreachableError


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
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        with closing(silent.accept()[0]) as connection:
            connection.recv(1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pods(silent).request("head", 8265, "/")
    finally:
        sender.join(10.0)
        signal.signal(signal.SIGINT, before)
