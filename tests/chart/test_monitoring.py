"""What the chart gives Prometheus and Grafana."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import Object, RefusedError, Rendered, render

ON: dict[str, Any] = {
    "monitoring": {
        "podMonitors": {"enabled": True, "labels": {"team": "vision"}},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    }
}
MODEL: dict[str, Any] = {"models": {"m": {"replicas": 2}}, "nodePools": {"gpu": {}}}
PROMTOOL_SECONDS = 60


def promtool(*arguments: str, directory: Path) -> str:
    """What promtool prints. Fails where it finds a mistake, and where it is not installed."""
    found = shutil.which("promtool")
    assert found, "promtool is not installed; apt-get install prometheus"
    done = subprocess.run(  # noqa: S603 - Debian's promtool
        [found, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def monitors(values: Object) -> dict[str, Object]:
    """The PodMonitors by name."""
    return {o["metadata"]["name"]: o for o in render(values).objects if o["kind"] == "PodMonitor"}


def rules(rendered: Rendered) -> list[Object]:
    """The alerts of a render."""
    (group,) = rendered.one("PrometheusRule")["spec"]["groups"]
    found: list[Object] = group["rules"]
    return found


def test_nothing_of_the_operator_is_rendered_by_default() -> None:
    """A cluster without the Prometheus Operator can install the chart."""
    assert render().kinds().isdisjoint({"PodMonitor", "PrometheusRule", "ConfigMap"})


def test_monitors_select_the_pods_of_the_release() -> None:
    """Workers and the head have a PodMonitor each, with labels that Prometheus selects it by."""
    found = monitors(ON | MODEL)
    assert set(found) == {"test-service", "test-head"}
    for name, kind in (("test-service", "worker"), ("test-head", "head")):
        assert found[name]["spec"]["selector"]["matchLabels"]["ray.io/node-type"] == kind
        assert found[name]["metadata"]["labels"]["team"] == "vision"


def test_monitored_ports_are_those_of_the_pods() -> None:
    """The head and every worker declare the port that the PodMonitors name."""
    rendered = render(ON | MODEL)
    for spec in (rendered.head, rendered.worker("gpu")):
        assert {"name": "metrics", "containerPort": 8080} in spec["containers"][0]["ports"]


def test_the_autoscaler_is_monitored_where_a_pool_scales() -> None:
    """Ray's autoscaler has a port of its own on the head."""
    scaling = {"models": {"m": {"autoscaling": {"maxReplicas": 3}}}, "nodePools": {"gpu": {}}}
    (endpoint,) = monitors(ON | scaling)["test-autoscaler"]["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][0]["replacement"] == "$1:44217"


def test_the_router_is_monitored_where_there_is_one() -> None:
    """The router's pods have a PodMonitor, whose port they declare, and Prometheus may reach it."""
    values = (
        ON | MODEL | {"router": {"enabled": True}, "networkPolicy": {"prometheusNamespace": "monitoring"}}
    )
    rendered = render(values)
    spec = rendered.one("PodMonitor", "test-router")["spec"]
    pod = rendered.one("Deployment", "test-router")["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert {"name": endpoint["port"], "containerPort": 8000} in pod["spec"]["containers"][0]["ports"]
    scrape = rendered.one("NetworkPolicy", "test-router")["spec"]["ingress"][-1]
    assert "monitoring" in str(scrape["from"])


def test_monitoring_changes_no_pod() -> None:
    """Turning monitoring on leaves the RayService as it is, so no new cluster starts."""
    assert render(ON | MODEL).one("RayService") == render(MODEL).one("RayService")


def test_the_alerts_do_what_they_say(tmp_path: Path) -> None:
    """With promtool, the rules are valid, quiet while all is well, and each raised in time by its trouble."""
    rule = render(ON | MODEL).one("PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(Path(__file__).parent / "alerts.yaml", tmp_path)
    promtool("check", "rules", "rules.yaml", directory=tmp_path)
    promtool("test", "rules", "alerts.yaml", directory=tmp_path)


def test_every_alert_is_tested() -> None:
    """The tests of promtool name each alert of the chart."""
    tested = (Path(__file__).parent / "alerts.yaml").read_text()
    names = [rule["alert"] for rule in rules(render(ON | MODEL))]
    assert len(names) == 7
    assert [name for name in names if tested.count(f"alertname: {name}") < 2] == []


def test_thresholds_are_values() -> None:
    """Each threshold comes from the values."""
    own = {"errorRate": 0.2, "queueFraction": 0.9, "cacheFraction": 0.8, "firstTokenSeconds": 3}
    values = ON | MODEL | {"monitoring": {"rules": {"enabled": True, **own}}}
    expressions = {rule["alert"]: rule["expr"] for rule in rules(render(values))}
    ends = {
        "CapstanErrors": "> 0.2",
        "CapstanSaturated": "> 0.9",
        "CapstanCacheFull": "> 0.8",
        "CapstanSlowFirstToken": "> 3",
    }
    assert {name: expressions[name][-len(end) :] for name, end in ends.items()} == ends


def test_a_model_that_may_have_no_replica_raises_no_alert_without_one() -> None:
    """Only a model that always has a replica has an alert for having none."""
    idle = {"models": {"m": {"autoscaling": {"minReplicas": 0, "maxReplicas": 3}}}, "nodePools": {"gpu": {}}}
    assert "CapstanNoReplicas" not in [rule["alert"] for rule in rules(render(ON | idle))]


def test_the_dashboard_is_json_that_grafana_finds() -> None:
    """The ConfigMap has the label of Grafana's sidecar, and its file parses."""
    dashboard = render(ON).one("ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["capstan.json"])["title"] == "Capstan"


def test_wrong_thresholds_are_refused() -> None:
    """The schema refuses an error rate above 1."""
    with pytest.raises(RefusedError, match="errorRate"):
        render({"monitoring": {"rules": {"errorRate": 5}}})
