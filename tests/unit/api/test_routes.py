"""Everything of the HTTP API but captions."""

import logging

import pytest
from fastapi.testclient import TestClient

from service.errors import EngineStopped
from tests.unit.api.conftest import Connect, StubEngine


def test_healthz_answers_while_the_process_is_up(client: TestClient, engine: StubEngine) -> None:
    """/healthz answers 200 even when the engine has stopped."""
    engine.stopped = EngineStopped("loop ended")
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readyz_answers_while_the_engine_works(client: TestClient) -> None:
    """/readyz answers 200 while the engine takes requests."""
    assert client.get("/readyz").status_code == 200


def test_readyz_fails_when_the_engine_has_stopped(client: TestClient, engine: StubEngine) -> None:
    """/readyz answers 503 with the code not_ready once the engine has stopped."""
    engine.stopped = EngineStopped("loop ended")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")


def test_models_lists_the_one_that_is_served(connect: Connect) -> None:
    """/v1/models names the served model, its revision and the runner in use."""
    client = connect(model="org/name", model_revision="abc", served_model_name="vision")
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["revision"], card["object"]) == ("vision", "abc", "model")
    assert card["engine"] == {
        "runner": "direct",
        "device": "cpu",
        "dtype": "float32",
        "max_concurrent_sequences": 64,
        "context_length": 4096,
    }


def test_one_model_is_found_by_its_name(connect: Connect) -> None:
    """/v1/models/NAME finds a name that holds a slash."""
    client = connect(model="org/name")
    assert client.get("/v1/models/org/name").json()["id"] == "org/name"


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    """/v1/models/NAME answers 404 for another model."""
    response = client.get("/v1/models/other")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_an_unknown_route_is_not_found(client: TestClient) -> None:
    """An unknown route gets a 404 in the form of every error."""
    response = client.get("/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_wrong_method_is_refused(client: TestClient) -> None:
    """A wrong method gets a 405 that says which are allowed."""
    response = client.get("/caption")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_harmless_request_id_is_kept(client: TestClient) -> None:
    """A client's own X-Request-ID comes back."""
    assert client.get("/healthz", headers={"x-request-id": "trace-1"}).headers["x-request-id"] == "trace-1"


@pytest.mark.parametrize("given", ["two words", "x" * 129, "tab\there", ""])
def test_a_harmful_request_id_is_replaced(client: TestClient, given: str) -> None:
    """An X-Request-ID that could forge a log line is replaced."""
    assert client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"] != given


def test_origins_are_allowed_by_name(connect: Connect) -> None:
    """A page of an allowed origin may read the answer; others are not told that they may."""
    client = connect(cors_origins="https://a.example, https://b.example")
    allowed = client.get("/healthz", headers={"origin": "https://b.example"})
    other = client.get("/healthz", headers={"origin": "https://c.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://b.example"
    assert "access-control-allow-origin" not in other.headers


def test_a_request_leaves_one_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A request leaves one log line with method, path, status and id."""
    with caplog.at_level(logging.INFO, "capstan"):
        client.get("/healthz", headers={"x-request-id": "trace-2"})
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("capstan")]
    assert line.startswith("GET /healthz 200 ")
    assert line.endswith("request_id=trace-2")


def test_openapi_describes_both_bodies(client: TestClient) -> None:
    """/openapi.json describes the JSON and the multipart body of /caption."""
    content = client.get("/openapi.json").json()["paths"]["/caption"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert "image" in content["multipart/form-data"]["schema"]["properties"]
