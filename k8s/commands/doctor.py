"""`capstan doctor`: what a deploy needs, checked line by line, each with its fix."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from k8s.clients.helm import Release, Values, find_chart, minimum_kubernetes
from k8s.clients.kubernetes import RAY, KubernetesClient
from k8s.clients.process import find_tool
from k8s.commands.session import Session
from k8s.errors import CapstanError, ClusterError, ToolError, UsageError
from k8s.planning import chart_checks, cluster_checks
from k8s.planning.cluster_checks import Finding, Level
from k8s.rollout.propose import DEPLOYMENTS, ray_service, read_autoscaling

Json = Mapping[str, Any]
Check = Callable[[], list[Finding]]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


def doctor(session: Session, chart: Path | None, values: Values) -> bool:
    """Show every finding; returns whether a deploy can work."""
    findings = find(session, chart, values)
    session.display.result({"findings": [asdict(f) for f in findings]}, [f.line() for f in findings])
    return all(f.level is not Level.MISSING for f in findings)


def find(session: Session, chart: Path | None, values: Values) -> list[Finding]:
    """All findings. Raises UsageError where no cluster is configured, UnreachableError without an answer."""
    findings = [_check_tool("helm"), _check_tool("kubectl")]
    client = session.client()
    findings.append(_check_kubernetes(client, chart))
    rendered = _render(session.release(client), chart, values, findings)
    for check in _checks(client, rendered):
        try:
            findings += check()
        except ClusterError as error:
            fix = "ask for read access, or an administrator to run this"
            findings.append(Finding(Level.UNKNOWN, f"not checked: {error}", fix))
    return findings


def _checks(client: KubernetesClient, rendered: list[dict[str, Any]]) -> list[Check]:
    service = ray_service(rendered) or {}
    crds = ("rayservices.ray.io", "rayclusters.ray.io")
    secrets = chart_checks.required_secrets(service)
    return [
        lambda: [cluster_checks.check_crd(name, client.find(f"{CRDS}/{name}")) for name in crds],
        lambda: [cluster_checks.check_operator(client.items(DEPLOYMENTS), _ray_clusters(client), service)],
        lambda: [chart_checks.check_ingress(client.items(INGRESS_CLASSES), rendered)],
        lambda: _check_gpus(client, service),
        lambda: cluster_checks.check_quotas(client.items(f"{client.core}/resourcequotas")),
        lambda: [chart_checks.check_storage(client.items(STORAGE_CLASSES), rendered)],
        lambda: chart_checks.check_secrets(
            secrets, lambda name: client.find(f"{client.core}/secrets/{name}")
        ),
        lambda: chart_checks.check_images(service, client.items(f"{client.core}/pods")),
    ]


def _check_kubernetes(client: KubernetesClient, chart: Path | None) -> Finding:
    try:
        oldest = minimum_kubernetes(find_chart(chart))
    except UsageError:
        oldest = (0, 0)  # Rendering reports it.
    return cluster_checks.check_kubernetes(client.get("/version"), oldest)


def _check_tool(name: str) -> Finding:
    try:
        find_tool(name)
    except ToolError:
        return Finding(
            Level.MISSING,
            f"{name} is neither on PATH nor next to Python",
            "pip install 'capstan-serve[rollout]'",
        )
    return Finding(Level.OK, f"{name} is installed")


def _check_gpus(client: KubernetesClient, service: Json) -> list[Finding]:
    nodes, pods = client.items("/api/v1/nodes"), client.items("/api/v1/pods")
    return cluster_checks.check_gpus(nodes, pods, service, read_autoscaling(client, nodes, pods))


def _ray_clusters(client: KubernetesClient) -> list[dict[str, Any]]:
    try:
        return client.items(f"{RAY}/rayclusters")
    except ClusterError:
        return []


def _render(
    release: Release, chart: Path | None, values: Values, findings: list[Finding]
) -> list[dict[str, Any]]:
    """The rendered objects; empty, with a finding, where the chart does not render."""
    try:
        return release.render(find_chart(chart), values)
    except (UsageError, ToolError) as error:
        findings.append(Finding(Level.UNKNOWN, f"the chart was not rendered: {error}", "see capstan plan"))
    except CapstanError as error:
        findings.append(Finding(Level.MISSING, f"the chart does not render: {error}", "see the lines below"))
    return []
