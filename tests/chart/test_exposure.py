"""How requests, metrics and the operator reach the pods."""

from typing import Any

import pytest

from tests.chart.rendering import RefusedError, render

HOSTS = ["captions.example.com", "www.example.com"]
NGINX = "nginx.ingress.kubernetes.io"
ALB = "alb.ingress.kubernetes.io"


def ingress(**values: Any) -> dict[str, Any]:
    """Return values with an Ingress."""
    return {"ingress": {"enabled": True, **values}}


def test_an_ingress_has_several_hosts() -> None:
    """Each host has a rule, and one certificate covers all; without hosts one rule takes any."""
    spec = render(ingress(hosts=HOSTS, tlsSecret="tls")).one("Ingress")["spec"]
    assert [rule["host"] for rule in spec["rules"]] == HOSTS
    assert spec["tls"] == [{"secretName": "tls", "hosts": HOSTS}]
    (rule,) = render(ingress()).one("Ingress")["spec"]["rules"]
    assert "host" not in rule


@pytest.mark.parametrize(
    ("controller", "annotations"),
    [
        (
            "nginx",
            {
                f"{NGINX}/proxy-body-size": "64m",
                f"{NGINX}/proxy-read-timeout": "400",
                f"{NGINX}/proxy-send-timeout": "400",
                f"{NGINX}/proxy-buffering": "off",
                f"{NGINX}/proxy-request-buffering": "off",
            },
        ),
        (
            "alb",
            {
                f"{ALB}/target-type": "ip",
                f"{ALB}/healthcheck-path": "/-/healthz",
                f"{ALB}/load-balancer-attributes": "idle_timeout.timeout_seconds=400",
                f"{ALB}/target-group-attributes": "deregistration_delay.timeout_seconds=60",
            },
        ),
        ("traefik", None),
        ("gke", None),
    ],
)
def test_proxies_wait_as_long_as_serve(controller: str, annotations: dict[str, str] | None) -> None:
    """The annotations of the controller give it Serve's timeout and turn its buffers off."""
    values = ingress(controller=controller) | {"serve": {"requestTimeoutSeconds": 400}}
    assert render(values).one("Ingress")["metadata"].get("annotations") == annotations


def test_gke_gets_a_backend_config() -> None:
    """On GKE the timeout and the health check are in a BackendConfig that the Service names."""
    rendered = render(ingress(controller="gke") | {"service": {"annotations": {"a": "b"}}})
    spec = rendered.one("BackendConfig")["spec"]
    assert spec["timeoutSec"] == 310
    assert spec["healthCheck"] == {"type": "HTTP", "port": 8000, "requestPath": "/-/healthz"}
    assert rendered.one("RayService")["spec"]["serveService"]["metadata"]["annotations"] == {
        "a": "b",
        "cloud.google.com/backend-config": '{"default":"test"}',
        "cloud.google.com/neg": '{"ingress":true}',
    }


def test_annotations_override_those_of_the_controller() -> None:
    """An annotation in the values replaces the one of the controller."""
    own = {f"{NGINX}/proxy-body-size": "1g"}
    annotations = render(ingress(controller="nginx", annotations=own)).one("Ingress")["metadata"][
        "annotations"
    ]
    assert annotations[f"{NGINX}/proxy-body-size"] == "1g"
    assert annotations[f"{NGINX}/proxy-buffering"] == "off"


@pytest.mark.parametrize("kind", ["issuer", "clusterIssuer"])
def test_cert_manager_makes_the_certificate(kind: str) -> None:
    """The Ingress names the issuer of cert-manager, which needs hosts and a Secret to fill."""
    key = {"issuer": "cert-manager.io/issuer", "clusterIssuer": "cert-manager.io/cluster-issuer"}[kind]
    values = ingress(hosts=HOSTS, tlsSecret="tls", certManager={kind: "letsencrypt"})
    assert render(values).one("Ingress")["metadata"]["annotations"] == {key: "letsencrypt"}


def peers(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ingress rules of the NetworkPolicy, but that of the release's own pods."""
    rules: list[dict[str, Any]] = render({"networkPolicy": values}).one("NetworkPolicy")["spec"]["ingress"]
    return rules[1:]


def namespace(name: str) -> dict[str, Any]:
    """Return the peer that is every pod of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_a_network_policy_may_name_the_namespaces() -> None:
    """Serve is open to the ingress controller alone, metrics to Prometheus, the dashboard to the operator."""
    serve, operator, metrics = peers(
        {"ingressNamespace": "traefik", "prometheusNamespace": "monitoring", "operatorNamespace": "kuberay"}
    )
    assert serve == {"ports": [{"port": 8000}], "from": [namespace("traefik")]}
    pods = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}}}
    assert operator["from"] == [namespace("kuberay") | pods]
    ports = [{"port": 8080}, {"port": 9101}, {"port": 44217}]  # Ray's agent, HAProxy, Ray's autoscaler
    assert metrics == {"ports": ports, "from": [namespace("monitoring")]}


def test_a_network_policy_takes_peers_as_well() -> None:
    """Peers add to the namespace; those of the operator replace its usual label."""
    own = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    serve, operator = peers({"ingressNamespace": "traefik", "from": own, "operatorFrom": own})
    assert serve["from"] == [namespace("traefik"), *own]
    assert operator["from"] == own


def test_kueue_queues_the_rayservice_alone() -> None:
    """The label of the queue is on the RayService and on nothing else."""
    label = "kueue.x-k8s.io/queue-name"
    rendered = render({"kueue": {"queueName": "gpus"}})
    labeled = [o["kind"] for o in rendered.objects if label in o["metadata"]["labels"]]
    assert labeled == ["RayService"]
    assert label not in str(rendered.cluster)
    with pytest.raises(
        RefusedError, match=r"commonLabels has kueue.x-k8s.io/queue-name \(gpus\), so Kueue would"
    ):
        render({"commonLabels": {label: "gpus"}})
