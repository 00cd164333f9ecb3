"""The router: one address for all models."""

from typing import Any

import pytest

from tests.chart.rendering import Object, RefusedError, Rendered, environment, render
from tests.chart.test_notes import notes

MODELS: dict[str, Any] = {"a": {}, "b": {"servedModelName": "team/b", "routePrefix": "/other"}}
VALUES: dict[str, Any] = {
    "models": MODELS,
    "nodePools": {"gpu": {}},
    "router": {"enabled": True},
    "apiKeys": {"existingSecret": "keys"},
    "serve": {"drainSeconds": 90, "requestTimeoutSeconds": 400},
    "ingress": {"enabled": True, "hosts": ["captions.example.com"]},
    "route": {"enabled": True, "parentRefs": [{"name": "gw"}], "timeoutSeconds": 400},
    "networkPolicy": {"ingressNamespace": "traefik"},
}
NAME = "test-router"


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render(VALUES)


@pytest.fixture(scope="module")
def pod(rendered: Rendered) -> Object:
    """The pod spec of the router."""
    spec: Object = rendered.one("Deployment", NAME)["spec"]["template"]["spec"]
    return spec


def test_it_knows_every_model(pod: Object) -> None:
    """It gets the path of each model at Serve's Service, by the name that clients send."""
    assert pod["containers"][0]["command"] == ["python", "-m", "service.router"]
    assert pod["containers"][0]["args"] == [
        "--host=0.0.0.0",
        "--request-seconds=400",
        "--drain-seconds=90",
        "--model=a=http://test-serve-svc:8000/a",
        "--model=team/b=http://test-serve-svc:8000/other",
    ]


def test_the_only_model_may_be_at_the_root() -> None:
    """A model at the path / has the address of the Service."""
    spec = render({"router": {"enabled": True}}).one("Deployment")["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][-1] == "--model=embedded=http://test-serve-svc:8000"


def test_it_drains_as_long_as_serve(pod: Object) -> None:
    """Before it stops, the Service removes the pod; then requests in progress get the drain time."""
    (container,) = pod["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert pod["terminationGracePeriodSeconds"] > 90 + 5


def test_it_survives_drains_and_updates(rendered: Rendered, pod: Object) -> None:
    """A drain takes one pod at a time, an update none, and the pods prefer different nodes."""
    spec = rendered.one("Deployment", NAME)["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    budget = rendered.one("PodDisruptionBudget", NAME)["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])
    assert "podAntiAffinity" in pod["affinity"]
    alone = render(VALUES | {"router": {"enabled": True, "replicas": 1}})
    assert NAME not in {o["metadata"]["name"] for o in alone.objects if o["kind"] == "PodDisruptionBudget"}


def test_bodies_and_keys_are_those_of_the_values(pod: Object) -> None:
    """The limits of bodies come from one value, the keys from the Secret; `env` adds variables."""
    found = environment(pod["containers"][0])
    assert found["CAPSTAN_MAX_REQUEST_BYTES"] == str(64 * 2**20)
    assert found["CAPSTAN_MAX_TOTAL_REQUEST_BYTES"] == str(256 * 2**20)
    assert found["CAPSTAN_KEYS_FILE"] == "/etc/capstan/keys/keys.yaml"
    assert {"name": "keys", "secret": {"secretName": "keys"}} in pod["volumes"]
    more = render({"router": {"enabled": True, "maxBodyMegabytes": 1, "env": {"CAPSTAN_LOG_FORMAT": "json"}}})
    found = environment(more.one("Deployment")["spec"]["template"]["spec"]["containers"][0])
    assert (found["CAPSTAN_MAX_REQUEST_BYTES"], found["CAPSTAN_LOG_FORMAT"]) == (str(2**20), "json")
    assert "CAPSTAN_KEYS_FILE" not in found


def test_v1_leads_to_it_and_the_rest_to_serve(rendered: Rendered) -> None:
    """Ingress and HTTPRoute lead /v1 to the router and every other path to Serve, with the same timeout."""
    (rule,) = rendered.one("Ingress")["spec"]["rules"]
    backends = [(path["path"], path["backend"]["service"]["name"]) for path in rule["http"]["paths"]]
    assert backends == [("/v1", NAME), ("/", "test-serve-svc")]
    rules = rendered.one("HTTPRoute")["spec"]["rules"]
    assert [
        (rule["matches"][0]["path"]["value"], rule["backendRefs"][0]["name"], rule["timeouts"])
        for rule in rules
    ] == [(path, name, {"request": "400s"}) for path, name in backends]


def test_its_service_selects_its_pods_alone(rendered: Rendered) -> None:
    """The Service and the Deployment select by the label of the router, which no Ray pod has."""
    selector = rendered.one("Service", NAME)["spec"]["selector"]
    assert selector == rendered.one("Deployment", NAME)["spec"]["selector"]["matchLabels"]
    for group in (rendered.cluster["headGroupSpec"], *rendered.cluster["workerGroupSpecs"]):
        assert not selector.items() <= group["template"]["metadata"]["labels"].items()


def test_it_reaches_serve_and_nothing_else_of_ray(rendered: Rendered) -> None:
    """Clients reach its port, and it reaches Serve's port, but not Ray's ports or the dashboard."""
    policy = rendered.one("NetworkPolicy", NAME)["spec"]
    clients = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}]
    assert policy["ingress"] == [{"ports": [{"port": 8000}], "from": clients}]
    serve, dns = policy["egress"]
    assert serve["ports"] == [{"port": 8000}]
    assert {port["port"] for port in dns["ports"]} == {53}
    ray = rendered.one("NetworkPolicy", "test")["spec"]
    own, proxy, *_ = ray["ingress"]
    apart = {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["router"]}
    for selector in (ray["podSelector"], own["from"][0]["podSelector"], serve["to"][0]["podSelector"]):
        assert selector["matchExpressions"] == [apart]
    assert proxy["from"] == [*clients, {"podSelector": policy["podSelector"]}]


def test_gke_knows_its_health_check() -> None:
    """On GKE its Service names the BackendConfig too, whose health check it answers."""
    ingress = {"enabled": True, "controller": "gke"}
    annotations = render({"router": {"enabled": True}, "ingress": ingress}).one("Service")["metadata"][
        "annotations"
    ]
    assert annotations["cloud.google.com/backend-config"] == '{"default":"test"}'


BALANCE = "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"


def test_serve_prefers_the_same_replica_behind_it(rendered: Rendered) -> None:
    """Serve's proxies hash the router's header, with bounded load; without the router they do as Ray does."""
    for spec in (rendered.head, rendered.worker("gpu")):
        expression, *more = environment(spec["containers"][0])[BALANCE].splitlines()
        assert expression == "hash req.hdr(x-capstan-affinity)"
        assert [line.split() for line in more] == [
            ["hash-type", "consistent"],
            ["hash-balance-factor", "150"],
        ]
    assert BALANCE not in environment(render().head["containers"][0])


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (
            {"a": {}, "b": {"servedModelName": "a"}},
            'models.a and models.b are both served as "a", so the router could not tell them apart. Change',
        ),
        (
            {"a": {"routePrefix": "/v1"}},
            'models.a.routePrefix is "/v1", which the router serves. Change models.a.routePrefix',
        ),
    ],
)
def test_what_it_cannot_route_is_refused(models: dict[str, Any], sentence: str) -> None:
    """Two models with one name, and a model at the router's own path, are refused."""
    with pytest.raises(RefusedError) as refused:
        render(VALUES | {"models": models})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (VALUES, "http://captions.example.com/v1"),
        (VALUES | {"ingress": {"enabled": True, "hosts": ["a.b"], "tlsSecret": "tls"}}, "https://a.b/v1"),
        ({"router": {"enabled": True}}, "http://127.0.0.1:8001/v1"),
    ],
    ids=["ingress", "tls", "none"],
)
def test_the_notes_give_its_address(values: dict[str, Any], url: str) -> None:
    """The notes give the base URL for OpenAI's clients, and how to reach it where nothing exposes it."""
    text = notes(values)
    assert f"curl {url}/models" in text
    assert ("port-forward service/test-router 8001:8000" in text) is ("127.0.0.1" in url)
