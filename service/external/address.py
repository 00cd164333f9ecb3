"""Where another server listens: an address of HTTP, or a Unix socket."""

import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

# Shorter than the 5 s of vLLM and SGLang, which run uvicorn: who reuses a connection must not meet its end.
KEEP_ALIVE_SECONDS = 3.0
MAX_PROBE = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL without `/v1`. With `socket`, a path, its host means nothing; `key` is a secret."""

    url: str
    socket: str | None = None
    key: str | None = field(default=None, repr=False)

    def session(self) -> aiohttp.ClientSession:
        """A new session; to be called on the event loop that uses it."""
        connector: aiohttp.BaseConnector
        if self.socket is not None:
            connector = aiohttp.UnixConnector(self.socket, limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        else:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self.headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
            trust_env=False,
        )

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def get(self, path: str, *, seconds: float) -> tuple[int, Any]:
        """The status and the JSON document of a GET request, None if it is none. Blocks.

        Raises OSError or http.client.HTTPException if no answer comes within about `seconds`.
        """
        connection = self._connect(seconds)
        try:
            connection.request("GET", urlsplit(self.url).path.rstrip("/") + path, headers=self.headers())
            response = connection.getresponse()
            body = response.read(MAX_PROBE)
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, None

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        if self.socket is not None:
            return _UnixConnection(self.socket, seconds)
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=seconds)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
