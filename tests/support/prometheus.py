"""A Prometheus on loopback that scrapes a server's Ray as the chart's PodMonitors say."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.server import Server, free_port

START_SECONDS = 30.0
POLL_SECONDS = 0.2


def ray_targets(server: Server) -> list[str]:
    """The addresses at which Ray offers the metrics of this server, as Ray's own discovery file has them."""
    arguments = [argument for command in server.commands().values() for argument in command]
    session = next(one for one in arguments if one.startswith("--session-dir="))
    file = Path(session.partition("=")[2]) / "prom_metrics_service_discovery.json"
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{file} did not appear within {START_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return [target for group in json.loads(file.read_text()) for target in group["targets"]]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    address: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now. Raises RuntimeError for one that is invalid."""
        answer = httpx.get(f"{self.address}/api/v1/query", params={"query": expression}, timeout=10).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{expression}: {answer['error']}")
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [result]


@contextmanager
def scraping(
    targets: list[str], relabelings: list[dict[str, Any]], labels: dict[str, str], directory: Path
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these addresses every second; its series get the labels."""
    program = shutil.which("prometheus")
    assert program, "prometheus is not installed; apt-get install prometheus"
    snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    job = {
        "job_name": "capstan",
        "static_configs": [{"targets": targets, "labels": labels}],
        "metric_relabel_configs": [
            {snake.get(key, key): value for key, value in one.items()} for one in relabelings
        ],
    }
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - Debian's Prometheus
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(f"http://{address}", process)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Prometheus ended with status {process.returncode}")
        try:
            if httpx.get(f"{address}/-/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"Prometheus was not ready within {START_SECONDS} s")
