"""`capstan doctor`: what a deploy needs of a cluster, checked line by line, each with what to do."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from k8s.commands.session import Session
from k8s.doors.cluster import RAY, Cluster
from k8s.doors.process import find_tool
from k8s.doors.release import Release, Values, find_chart
from k8s.errors import CapstanError, ClusterError, ToolError, UsageError
from k8s.rollout.plan import ray_service
from k8s.rollout.room import growth_of
from k8s.rules.checks import capacity, classes, platform, pods
from k8s.rules.checks.finding import Finding, Level

Json = Mapping[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def doctor(session: Session, chart: Path | None, values: Values) -> bool:
    """Show every finding; returns whether a deploy can work."""
    findings = find(session, chart, values)
    session.display.result({"findings": [asdict(f) for f in findings]}, [f.line() for f in findings])
    return all(f.level is not Level.MISSING for f in findings)


def find(session: Session, chart: Path | None, values: Values) -> list[Finding]:
    """All findings. Raises UsageError without a configured cluster, UnreachableError without an answer."""
    findings = [_tool("helm"), _tool("kubectl")]
    cluster = session.cluster()
    version = cluster.get("/version")
    findings.append(platform.kubernetes(version))
    wanted = _rendered(session.release(cluster), chart, values, findings)
    service = ray_service(wanted) or {}
    steps: list[Callable[[], list[Finding]]] = [
        lambda: [
            platform.crd(n, cluster.find(f"{CRDS}/{n}")) for n in ("rayservices.ray.io", "rayclusters.ray.io")
        ],
        lambda: [platform.operator(cluster.items("/apis/apps/v1/deployments"), _clusters(cluster))],
        lambda: [classes.ingress(cluster.items("/apis/networking.k8s.io/v1/ingressclasses"), wanted)],
        lambda: _gpus(cluster, service),
        lambda: capacity.quotas(cluster.items(f"{cluster.core}/resourcequotas")),
        lambda: [classes.storage(cluster.items("/apis/storage.k8s.io/v1/storageclasses"), wanted)],
        lambda: pods.secrets(
            pods.secrets_wanted(service), lambda name: cluster.find(f"{cluster.core}/secrets/{name}")
        ),
        lambda: pods.images(service, cluster.items(f"{cluster.core}/pods")),
    ]
    for step in steps:
        try:
            findings += step()
        except ClusterError as error:
            findings.append(
                Finding(Level.UNKNOWN, str(error), "ask for read access, or have somebody with it run this")
            )
    return findings


def _tool(name: str) -> Finding:
    try:
        find_tool(name)
    except ToolError as error:
        return Finding(Level.MISSING, str(error), "pip install 'capstan-serve[rollout]'")
    return Finding(Level.WELL, f"{name} is there")


def _gpus(cluster: Cluster, service: Json) -> list[Finding]:
    nodes, pods = cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods")
    return capacity.gpus(nodes, pods, service, growth_of(cluster, nodes, pods))


def _clusters(cluster: Cluster) -> list[dict[str, Any]]:
    try:
        return cluster.items(f"{RAY}/rayclusters")
    except ClusterError:
        return []


def _rendered(
    release: Release, chart: Path | None, values: Values, findings: list[Finding]
) -> list[dict[str, Any]]:
    """What the chart renders with these values; nothing, but a finding, where it does not."""
    try:
        return release.render(find_chart(chart), values)
    except (UsageError, ToolError) as error:
        findings.append(Finding(Level.UNKNOWN, f"the chart was not rendered: {error}", "see capstan plan"))
    except CapstanError as error:
        findings.append(Finding(Level.MISSING, str(error), "see the lines below"))
    return []
