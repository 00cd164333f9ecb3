"""The objects other than the RayService."""

from typing import Any

import pytest
import yaml

from tests.chart.rendering import Rendered, environment, render

CACHED: dict[str, Any] = {
    "models": {
        "hub": {
            "source": "OpenGVLab/InternVL2-8B",
            "revision": "abc",
            "existingSecret": "token",
            "adapter": {"source": "our/lora", "revision": "def"},
            "nodePool": "gpu",
            "replicas": 4,
        },
        "own": {"nodePool": "gpu"},
    },
    "nodePools": {"gpu": {"gpusPerNode": 1}},
    "modelCache": {"type": "persistentVolumeClaim", "keep": True},
    "apiKeys": {"existingSecret": "keys"},
    "test": {"apiKeySecret": "test-key"},
    "networkPolicy": {"from": [{"namespaceSelector": {}}], "egress": []},
    "ingress": {"enabled": True, "hosts": ["captions.example.com"], "tlsSecret": "tls", "className": "nginx"},
    "route": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["captions.example.com"]},
    "commonLabels": {"team": "vision"},
    "extraManifests": [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {of: {{ .Release.Name }}}",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "made"}},
    ],
}


@pytest.fixture(scope="module")
def default() -> Rendered:
    return render()


@pytest.fixture(scope="module")
def cached() -> Rendered:
    return render(CACHED)


def download_job(rendered: Rendered) -> dict[str, Any]:
    """The Job that downloads the models."""
    (found,) = [o for o in rendered.objects if o["kind"] == "Job" and "-download-" in o["metadata"]["name"]]
    return found


def test_the_longest_name_fits_the_download_job() -> None:
    """The name of the Job fits a label, and keeps what tells one list of models from another."""
    name = download_job(render(CACHED | {"fullnameOverride": "a" * 47}))["metadata"]["name"]
    assert len(name) == 63
    assert name.startswith("a" * 45 + "-download-")


def test_default_objects(default: Rendered) -> None:
    """Without values there are these kinds; the budget is for the head."""
    align = {"Job", "Role", "RoleBinding"}
    kinds = {"RayService", "ServiceAccount", "NetworkPolicy", "Pod", "PodDisruptionBudget", *align}
    assert default.kinds() == kinds
    assert default.one("PodDisruptionBudget")["metadata"]["name"] == "test-head"


def test_only_the_serve_port_is_open(default: Rendered) -> None:
    """Only the Serve port is open to others, and the dashboard only to the operator."""
    own, clients, operator = default.one("NetworkPolicy")["spec"]["ingress"]
    assert "ports" not in own
    assert own["from"] == [
        {"podSelector": {"matchLabels": default.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]}}
    ]
    assert clients == {"ports": [{"port": 8000}]}
    assert operator["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }


def test_the_network_policy_covers_every_ray_pod(default: Rendered) -> None:
    """The selector of the policy matches the labels of head and workers."""
    selector = default.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    for group in (default.cluster["headGroupSpec"], default.group("cpu")):
        assert selector <= group["template"]["metadata"]["labels"].items()


def test_closed_egress_leaves_dns_and_the_release(cached: Rendered) -> None:
    """An empty list of egress rules allows DNS, the pods of the release, and the align Job's API server."""
    spec, align = (cached.one("NetworkPolicy", name)["spec"] for name in ("test", "test-align"))
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [sorted(rule) for rule in spec["egress"]] == [["to"], ["ports"]]
    assert spec["ingress"][1]["from"] == [{"namespaceSelector": {}}]
    labels = cached.one("Job", "test-align")["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= spec["podSelector"]["matchLabels"].items()
    assert labels.items() >= align["podSelector"]["matchLabels"].items()
    assert {"port": 6443} in align["egress"][0]["ports"]


def test_ingress_and_route_lead_to_serve_only(cached: Rendered) -> None:
    """Ingress and HTTPRoute have one backend, the Serve port of the Serve Service."""
    (rule,) = cached.one("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "test-serve-svc", "port": {"number": 8000}}
    assert cached.one("Ingress")["spec"]["tls"] == [{"secretName": "tls", "hosts": ["captions.example.com"]}]
    (rule,) = cached.one("HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "test-serve-svc", "port": 8000}]


def test_the_cache_is_shared_by_workers_and_job(cached: Rendered) -> None:
    """Workers and the download Job mount the same claim; the head does not."""
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "test-models"}}
    assert claim in cached.worker("gpu")["volumes"]
    assert claim in download_job(cached)["spec"]["template"]["spec"]["volumes"]
    assert claim not in cached.head["volumes"]
    kept = cached.one("PersistentVolumeClaim")["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}


def test_the_job_downloads_the_models_from_the_hub(cached: Rendered) -> None:
    """The list of downloads has the hub's models and adapters with the variable of a token, and no Secret."""
    listed = yaml.safe_load(cached.one("ConfigMap", "test-download")["data"]["models.json"])
    assert listed == [
        {"source": "OpenGVLab/InternVL2-8B", "revision": "abc", "token": "TOKEN_0"},
        {"source": "our/lora", "revision": "def", "token": "TOKEN_1"},
    ]
    (container,) = download_job(cached)["spec"]["template"]["spec"]["containers"]
    named = {e["name"]: e.get("valueFrom") for e in container["env"]}
    assert named["TOKEN_0"] == {"secretKeyRef": {"name": "token", "key": "token"}}


def test_a_new_revision_makes_a_new_job_and_keeps_the_pods() -> None:
    """A new revision makes a new Job, because a Job is immutable, and leaves the pod templates alone."""
    other = {**CACHED, "models": {**CACHED["models"], "hub": {**CACHED["models"]["hub"], "revision": "def"}}}
    first, second = render(CACHED), render(other)
    assert download_job(first)["metadata"]["name"] != download_job(second)["metadata"]["name"]
    assert first.cluster == second.cluster


def test_workers_wait_for_the_job(cached: Rendered, default: Rendered) -> None:
    """Worker pods wait for the download if there is one."""
    assert [c["name"] for c in cached.worker("gpu")["initContainers"]] == ["wait-for-models"]
    assert "initContainers" not in default.worker("cpu")


def test_keys_reach_replicas(cached: Rendered) -> None:
    """Worker pods mount the Secret with the API keys, and every model gets its path; the head does not."""
    assert cached.application("own")["args"]["keys_file"] == "/etc/capstan/keys/keys.yaml"
    mounts = {m["name"]: m["mountPath"] for m in cached.worker("gpu")["containers"][0]["volumeMounts"]}
    assert mounts["keys"] == "/etc/capstan/keys"
    assert "keys" not in {v["name"] for v in cached.head["volumes"]}


def test_helm_test_calls_every_model(cached: Rendered) -> None:
    """The pod of `helm test` has the path of every model, the address of the Service and the key."""
    pod = cached.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    found = environment(container)
    assert found["ADDRESS"] == "http://test-serve-svc:8000"
    assert yaml.safe_load(found["MODELS"]) == {"hub": "/hub", "own": "/own"}
    (key,) = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if e["name"] == "API_KEY"]
    assert key == {"name": "test-key", "key": "key"}


def test_common_labels_and_extra_manifests(cached: Rendered) -> None:
    """Objects have the common labels, and extra manifests are rendered from text and from maps."""
    assert cached.one("RayService")["metadata"]["labels"]["team"] == "vision"
    assert cached.one("ConfigMap", "notes")["data"] == {"of": "test"}
    assert cached.one("Secret", "made")["kind"] == "Secret"


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        (
            {"backend": "redis", "redis": {"address": "redis:6379", "existingSecret": "pw"}},
            {
                "redisAddress": "redis:6379",
                "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "pw", "key": "password"}}},
            },
        ),
        ({"backend": "rocksdb"}, {"backend": "rocksdb", "storage": {"size": "1Gi"}}),
    ],
    ids=["redis", "rocksdb"],
)
def test_gcs_fault_tolerance(chosen: dict[str, Any], options: dict[str, Any]) -> None:
    """The state of the head is stored in Redis or on a volume, with the options of KubeRay."""
    assert render({"gcsFaultTolerance": chosen}).cluster["gcsFaultToleranceOptions"] == options


def test_the_service_takes_annotations() -> None:
    """KubeRay gets the type and the annotations of the Serve Service, which it makes."""
    service = {"type": "LoadBalancer", "annotations": {"a": "b"}}
    spec = render({"service": service}).one("RayService")["spec"]["serveService"]
    assert spec["metadata"] == {"name": "test-serve-svc", "annotations": {"a": "b"}}
    assert spec["spec"]["type"] == "LoadBalancer"


def test_overrides_of_the_serve_config_come_last() -> None:
    """The value serveConfig overrides single keys of the chart's Serve config."""
    serve = render(
        {"serveConfig": {"http_options": {"request_timeout_s": 5}, "proxy_location": "HeadOnly"}}
    ).serve
    assert serve["http_options"] == {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 5}
    assert serve["proxy_location"] == "HeadOnly"


def test_the_timeout_of_a_route() -> None:
    """The route sets the timeout of the Gateway, with 0 for no limit; without it the Gateway decides."""
    timeouts = []
    for seconds in (None, 0, 310):
        route = {"enabled": True, "parentRefs": [{"name": "gw"}], "timeoutSeconds": seconds}
        (rule,) = render({"route": route}).one("HTTPRoute")["spec"]["rules"]
        timeouts.append(rule.get("timeouts"))
    assert timeouts == [None, {"request": "0s"}, {"request": "310s"}]
