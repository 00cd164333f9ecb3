"""The values file of docs/deploy.md."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import ROOT, Rendered, render
from tests.chart.test_examples import CUSTOM, KUBERNETES

PAGE = (ROOT / "docs" / "deploy.md").read_text()
FILES: dict[str, Any] = {
    name: yaml.safe_load(text) for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
}


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render(FILES["my.yaml"])


def test_it_renders_valid_objects(rendered: Rendered) -> None:
    """The whole file renders, and the objects are valid by the schemas of Kubernetes."""
    for o in rendered.objects:
        if o["kind"] not in CUSTOM:
            kubernetes_validate.validate(o, KUBERNETES, strict=True)


def test_it_fits_the_rest_of_the_page(rendered: Rendered) -> None:
    """The ingress class, the issuer, the Secrets and the names are those of the page's commands."""
    ingress, issuer = rendered.one("Ingress"), FILES["issuer.yaml"]
    name = issuer["metadata"]["name"]
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": name}
    (solver,) = issuer["spec"]["acme"]["solvers"]
    assert ingress["spec"]["ingressClassName"] == solver["http01"]["ingress"]["ingressClassName"] == "traefik"
    (tls,) = ingress["spec"]["tls"]
    assert f"certificate/{tls['secretName']}" in PAGE
    assert f"https://{tls['hosts'][0]}/caption" in PAGE
    assert f"secret generic {FILES['my.yaml']['apiKeys']['existingSecret']} --from-file=keys.yaml" in PAGE
    for namespace in (
        FILES["my.yaml"]["networkPolicy"][key] for key in ("ingressNamespace", "operatorNamespace")
    ):
        assert f"--namespace {namespace} --create-namespace" in PAGE


def test_every_pool_of_a_cloud_is_tainted_as_the_chart_tolerates(rendered: Rendered) -> None:
    """The pods tolerate the taint of the GPU nodes that the page creates."""
    keys = {toleration["key"] for toleration in rendered.worker("gpu")["tolerations"]}
    (pool,) = [g for g in FILES["cluster.yaml"]["managedNodeGroups"] if "taints" in g]
    assert {taint["key"] for taint in pool["taints"]} <= keys
    assert "--node-taints nvidia.com/gpu=present:NoSchedule" in PAGE


def test_only_the_chart_says_which_kubernetes_it_needs() -> None:
    """No document repeats the minimum of Kubernetes, which `kubeVersion` has."""
    assert yaml.safe_load((ROOT / "helm/capstan/Chart.yaml").read_text())["kubeVersion"].startswith(">=")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "helm/capstan/README.md"]
    assert not [page.name for page in pages if re.search(r"Kubernetes 1\.\d+ or", page.read_text())]
