"""The objects beside the RayService."""

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
    "ingress": {"enabled": True, "host": "captions.example.com", "tlsSecret": "tls", "className": "nginx"},
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


def test_default_objects(default: Rendered) -> None:
    """Without values there is a RayService, its account, a NetworkPolicy and the pod of `helm test`."""
    assert default.kinds() == {"RayService", "ServiceAccount", "NetworkPolicy", "Pod"}


def test_only_serves_port_is_open(default: Rendered) -> None:
    """From outside the release only Serve's port is open, and Ray's dashboard to the operator alone."""
    own, anybody, operator = default.one("NetworkPolicy")["spec"]["ingress"]
    assert "ports" not in own
    assert own["from"] == [
        {"podSelector": {"matchLabels": default.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]}}
    ]
    assert anybody == {"ports": [{"port": 8000}]}
    assert operator["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }


def test_the_network_policy_covers_every_ray_pod(default: Rendered) -> None:
    """The policy's selector finds head and workers by labels that their templates have."""
    wanted = default.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    for group in (default.cluster["headGroupSpec"], default.group("cpu")):
        assert wanted <= group["template"]["metadata"]["labels"].items()


def test_closed_egress_leaves_dns_and_the_release(cached: Rendered) -> None:
    """An empty list of egress rules leaves DNS and the release's own pods."""
    spec = cached.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [sorted(rule) for rule in spec["egress"]] == [["to"], ["ports"]]
    assert spec["ingress"][1]["from"] == [{"namespaceSelector": {}}]


def test_a_drain_takes_one_worker_at_a_time(cached: Rendered) -> None:
    """Of a pool with five workers a drain may take one, counted without a controller."""
    spec = cached.one("PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] == 4
    assert spec["selector"]["matchLabels"]["ray.io/group"] == "gpu"


def test_ingress_and_route_lead_to_serve_only(cached: Rendered) -> None:
    """Ingress and HTTPRoute lead to Serve's Service and its port, and to nothing else."""
    (rule,) = cached.one("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "test-serve-svc", "port": {"number": 8000}}
    assert cached.one("Ingress")["spec"]["tls"] == [{"secretName": "tls", "hosts": ["captions.example.com"]}]
    (rule,) = cached.one("HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "test-serve-svc", "port": 8000}]


def test_the_cache_is_shared_by_workers_and_job(cached: Rendered) -> None:
    """Workers and the download Job mount the one claim; the head, on another node perhaps, does not."""
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "test-models"}}
    assert claim in cached.worker("gpu")["volumes"]
    assert claim in cached.one("Job")["spec"]["template"]["spec"]["volumes"]
    assert claim not in cached.head["volumes"]
    kept = cached.one("PersistentVolumeClaim")["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}


def test_the_job_downloads_what_comes_from_the_hub(cached: Rendered) -> None:
    """The list of downloads has the hub's models, each with its token's variable and no Secret."""
    listed = yaml.safe_load(cached.one("ConfigMap", "test-download")["data"]["models.json"])
    assert listed == [{"source": "OpenGVLab/InternVL2-8B", "revision": "abc", "token": "TOKEN_0"}]
    (container,) = cached.one("Job")["spec"]["template"]["spec"]["containers"]
    named = {e["name"]: e.get("valueFrom") for e in container["env"]}
    assert named["TOKEN_0"] == {"secretKeyRef": {"name": "token", "key": "token"}}


def test_another_revision_is_another_job_and_the_same_pods() -> None:
    """A new revision is another Job, as a Job cannot change, while pod templates stay as they are."""
    other = {**CACHED, "models": {**CACHED["models"], "hub": {**CACHED["models"]["hub"], "revision": "def"}}}
    first, second = render(CACHED), render(other)
    assert first.one("Job")["metadata"]["name"] != second.one("Job")["metadata"]["name"]
    assert first.cluster == second.cluster


def test_workers_wait_for_the_job(cached: Rendered, default: Rendered) -> None:
    """Worker pods wait for the download where there is one, and start at once where there is none."""
    assert [c["name"] for c in cached.worker("gpu")["initContainers"]] == ["wait-for-models"]
    assert "initContainers" not in default.worker("cpu")


def test_keys_reach_replicas(cached: Rendered) -> None:
    """The keys' Secret is a file in worker pods, which every model is told of; the head has none."""
    assert cached.application("own")["args"]["keys_file"] == "/etc/capstan/keys/keys.yaml"
    mounts = {m["name"]: m["mountPath"] for m in cached.worker("gpu")["containers"][0]["volumeMounts"]}
    assert mounts["keys"] == "/etc/capstan/keys"
    assert "keys" not in {v["name"] for v in cached.head["volumes"]}


def test_helm_test_asks_every_model(cached: Rendered) -> None:
    """The pod of `helm test` knows every model's path, the Service and the key."""
    pod = cached.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    found = environment(container)
    assert found["ADDRESS"] == "http://test-serve-svc:8000"
    assert yaml.safe_load(found["MODELS"]) == {"hub": "/hub", "own": "/own"}
    (key,) = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if e["name"] == "API_KEY"]
    assert key == {"name": "test-key", "key": "key"}


def test_labels_and_manifests_of_yours(cached: Rendered) -> None:
    """Common labels are on the chart's objects, and extra manifests are rendered, as text and as maps."""
    assert cached.one("RayService")["metadata"]["labels"]["team"] == "vision"
    assert cached.one("ConfigMap", "notes")["data"] == {"of": "test"}
    assert cached.one("Secret", "made")["kind"] == "Secret"


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        (
            {"backend": "redis", "redis": {"address": "redis:6379", "existingSecret": "pw"}},
            {
                "backend": "redis",
                "redisAddress": "redis:6379",
                "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "pw", "key": "password"}}},
            },
        ),
        ({"backend": "rocksdb"}, {"backend": "rocksdb", "storage": {"size": "1Gi"}}),
    ],
    ids=["redis", "rocksdb"],
)
def test_the_head_may_keep_its_state(chosen: dict[str, Any], options: dict[str, Any]) -> None:
    """The head's state goes to Redis or to a volume, as KubeRay's options say it."""
    assert render({"gcsFaultTolerance": chosen}).cluster["gcsFaultToleranceOptions"] == options


def test_the_service_takes_annotations() -> None:
    """Annotations and the type of Serve's Service are given to KubeRay, which makes it."""
    service = {"type": "LoadBalancer", "annotations": {"a": "b"}}
    spec = render({"service": service}).one("RayService")["spec"]["serveService"]
    assert spec["metadata"] == {"name": "test-serve-svc", "annotations": {"a": "b"}}
    assert spec["spec"]["type"] == "LoadBalancer"


def test_overrides_of_the_serve_config_come_last() -> None:
    """What serveConfig says counts over what the chart says, false too, and leaves the rest."""
    serve = render(
        {"serveConfig": {"http_options": {"request_timeout_s": 5}, "proxy_location": "HeadOnly"}}
    ).serve
    assert serve["http_options"] == {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 5}
    assert serve["proxy_location"] == "HeadOnly"


def test_a_route_may_wait_longer() -> None:
    """A Gateway waits as long as the route says, 0 being no limit, and as it likes where it says nothing."""
    found = []
    for seconds in (None, 0, 310):
        route = {"enabled": True, "parentRefs": [{"name": "gw"}], "timeoutSeconds": seconds}
        (rule,) = render({"route": route}).one("HTTPRoute")["spec"]["rules"]
        found.append(rule.get("timeouts"))
    assert found == [None, {"request": "0s"}, {"request": "310s"}]
