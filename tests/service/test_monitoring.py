"""The queries of the chart's alerts and dashboard, on a real Prometheus that scrapes a real server."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chart.rendering import render
from tests.support.prometheus import Prometheus, ray_targets, scraping
from tests.support.server import ROOT, Server

pytestmark = pytest.mark.service

VALUES: dict[str, Any] = {
    "monitoring": {
        "podMonitors": {"enabled": True},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    }
}
LABELS = {"namespace": "space", "release": "test", "ray_cluster": "test-1", "pool": "cpu"}
# Two copies to Ray, its report every 10 s and a few scrapes.
SECONDS = 90.0
# Exported by kube-state-metrics, which needs Kubernetes.
FOREIGN = "kube_pod_deletion_timestamp"


def alerts() -> Iterator[str]:
    """The query of each alert without the comparison with its threshold."""
    (group,) = render(VALUES).one("PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        if FOREIGN not in rule["expr"]:
            # The chart calls the application by its key, embedded; `make serve` calls it capstan.
            expression = rule["expr"].replace('application="embedded"', 'application="capstan"')
            yield re.sub(r"\s[<>] [\d.]+$", "", expression)


def panels() -> Iterator[str]:
    """Each query of the dashboard, with Grafana's variables filled in."""
    dashboard = json.loads(render(VALUES).one("ConfigMap")["data"]["capstan.json"])
    filled = {"$namespace": "space", "$release": "test", "$model": "embedded", "$__rate_interval": "1m"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in filled.items():
                expression = expression.replace(variable, value)
            yield expression


def relabelings() -> list[dict[str, Any]]:
    """What the PodMonitors do to every series."""
    for one in render(VALUES).objects:
        if one["kind"] == "PodMonitor":
            found: list[dict[str, Any]] = one["spec"]["podMetricsEndpoints"][0]["metricRelabelings"]
            return found
    raise AssertionError


def load(client: httpx.Client, number: int) -> None:
    """A little of everything: an answer, a stream, and a repeated image from a path."""
    image = (ROOT / "examples" / "images" / "shapes.png").read_bytes()
    client.post("/caption", files={"image": image}, data={"prompt": f"describe {number}"})
    client.post("/caption", json={"image_path": "shapes.png", "stream": True})
    client.post("/caption", json={"image_path": "shapes.png"})


def silent(prometheus: Prometheus, expressions: list[str]) -> list[str]:
    """The expressions without any result yet."""
    return [expression for expression in expressions if not prometheus.query(expression)]


def test_every_query_has_an_answer(server: Server, client: httpx.Client, tmp_path: Path) -> None:
    """Each query of the alerts and of the dashboard finds series in what a server exports under load."""
    expressions = [*alerts(), *panels()]
    assert len(expressions) > 30
    with scraping(ray_targets(server), relabelings(), LABELS, tmp_path) as prometheus:
        deadline, number = time.monotonic() + SECONDS, 0
        while left := silent(prometheus, expressions):
            assert time.monotonic() < deadline, "no series for " + "; ".join(left)
            load(client, number := number + 1)
            time.sleep(0.5)
        assert {one["metric"]["model"] for one in prometheus.query("capstan_slots")} == {"embedded"}


def test_a_replica_reports_itself(client: httpx.Client) -> None:
    """/metrics behind Serve's proxy answers as Prometheus expects, without a key."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'capstan_info{device="cpu",dtype="float32",model="embedded"' in response.text
