"""Replicas that follow the work, as Serve's controller scales them."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.server import ROOT, start

pytestmark = pytest.mark.service

# So few that a count of requests, with the target below, would leave one replica as it is.
CLIENTS = 2
SCALING: dict[str, Any] = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing_requests": 16,
    "upscale_delay_s": 1,
    "look_back_period_s": 5,
    "policy": {
        "policy_function": "service.autoscaling.policy:WorkPolicy",
        "policy_kwargs": {"utilization": 0.05},
    },
}
LONG = {"prompt": "Describe the image.", "image_path": "shapes.png", "max_tokens": 900, "temperature": 2.0}
SECONDS = 90.0


def test_few_heavy_requests_bring_a_replica(tmp_path: Path) -> None:
    """Two long answers at a time, an eighth of the target of requests, are work for a second replica."""
    document = yaml.safe_load((ROOT / "examples" / "local.yaml").read_text())
    model = {"name": "Model", "num_replicas": "auto", "autoscaling_config": SCALING}
    document["applications"][0]["deployments"] = [model]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    environment = {"CAPSTAN_IMAGE_ROOTS": str(ROOT / "examples" / "images")}
    with start(config, tmp_path / "serve.log", environment) as server, _load(server.address):
        deadline = time.monotonic() + SECONDS
        while (count := len(server.replicas())) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
    assert count == 2


@contextmanager
def _load(address: str) -> Iterator[None]:
    """Requests for long texts, `CLIENTS` at a time."""
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            httpx.post(f"{address}/caption", json=LONG, timeout=SECONDS).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as pool:
        calls = [pool.submit(call) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
    for done in calls:
        done.result()
