"""A replica that Serve stops while requests run."""

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.support.server import ROOT, start

pytestmark = pytest.mark.service

# Two replicas at first, which so few requests as here let Serve reduce to one.
SCALING: dict[str, Any] = {
    "min_replicas": 1,
    "initial_replicas": 2,
    "max_replicas": 2,
    "target_ongoing_requests": 1000,
    "downscale_delay_s": 8,
}
IMAGE = {"image_path": "shapes.png"}
BODY = json.dumps({**IMAGE, "stream": True}).encode()
REQUESTS = 8
SECONDS = 60.0


def test_a_stopping_replica_finishes_its_requests(tmp_path: Path) -> None:
    """Requests that a stopped replica has begun get their streams to the end, and later ones fail nowhere."""
    document = yaml.safe_load((ROOT / "examples" / "local.yaml").read_text())
    model = {"name": "Model", "num_replicas": "auto", "autoscaling_config": SCALING}
    document["applications"][0]["deployments"] = [model]
    config, log = tmp_path / "config.yaml", tmp_path / "serve.log"
    config.write_text(yaml.safe_dump(document))
    environment = {"CAPSTAN_IMAGE_ROOTS": str(ROOT / "examples" / "images")}
    with start(config, log, environment) as server, ExitStack() as stack:
        running = [stack.enter_context(_begun(server.address)) for _ in range(REQUESTS)]
        _until(lambda: "Removing 1 replica" in log.read_text(errors="replace"))
        replicas = server.replicas()
        for _ in range(REQUESTS):
            later = httpx.post(f"{server.address}/caption", json=IMAGE, timeout=SECONDS)
            assert later.status_code == 200
        assert len(replicas) == 2
        answers = [_finished(connection) for connection in running]
        assert [b" 200 " in answer and b"event: caption" in answer for answer in answers] == [True] * REQUESTS
        _until(lambda: sum(one.is_running() for one in replicas) == 1)


def _begun(address: str) -> socket.socket:
    """A request that lacks the last byte of its body."""
    parts = urlsplit(address)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
    head = (
        f"POST /caption HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    connection.sendall(head.encode() + BODY[:-1])
    return connection


def _finished(connection: socket.socket) -> bytes:
    """The whole response once the body is complete."""
    connection.sendall(BODY[-1:])
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


def _until(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
