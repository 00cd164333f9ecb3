"""Identifiers, headers and log lines of requests."""

import logging

import pytest
from fastapi.testclient import TestClient

from service.api.middleware.request_log import RequestEntry
from service.errors import ErrorCode, RequestError
from tests.unit.api.conftest import StubEngine


def test_a_harmless_request_id_is_kept(client: TestClient) -> None:
    """A client's own X-Request-ID comes back."""
    assert client.get("/healthz", headers={"x-request-id": "trace-1"}).headers["x-request-id"] == "trace-1"


@pytest.mark.parametrize("given", ["two words", "x" * 129, "tab\there", ""])
def test_a_harmful_request_id_is_replaced(client: TestClient, given: str) -> None:
    """An X-Request-ID that could forge a log line is replaced."""
    assert client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"] != given


def test_a_request_leaves_one_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A request leaves one log line with method, path, status and id."""
    with caplog.at_level(logging.INFO, "capstan"):
        client.get("/healthz", headers={"x-request-id": "trace-2"})
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("capstan")]
    assert line.startswith("GET /healthz 200 ")
    assert line.endswith("request_id=trace-2")


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/nothing", "/static/style.css", "/openapi.json"])
def test_no_type_is_guessed(client: TestClient, path: str) -> None:
    """Every answer, errors among them, forbids browsers to guess its type."""
    assert client.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "streamed", "code"),
    [("/nothing", False, "not_found"), ("/caption", True, "deadline_exceeded"), ("/caption", False, None)],
    ids=["refused", "broken stream", "answered"],
)
def test_a_line_has_the_code_of_the_error(
    path: str, streamed: bool, code: str | None, client: TestClient, engine: StubEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The log entry of a request has the model, and the code of the error that ended it, in a stream too."""
    if streamed:
        engine.failure_after, engine.failure = 2, RequestError(ErrorCode.DEADLINE_EXCEEDED, "late")
    with caplog.at_level(logging.INFO, "capstan"):
        client.post(path, json={"image": "AAAA", "stream": streamed})
    (entry,) = [record.msg for record in caplog.records if isinstance(record.msg, RequestEntry)]
    assert (entry.model, entry.code) == ("embedded", code)
