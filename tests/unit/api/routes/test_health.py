"""GET /healthz and GET /readyz."""

from fastapi.testclient import TestClient

from service.errors import EngineStopped
from tests.unit.api.conftest import StubEngine


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
