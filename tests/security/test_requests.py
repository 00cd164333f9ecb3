"""Requests made to harm the server, its log or the reader of an answer."""

import base64
import gzip
import json
import logging

import pytest
from fastapi.testclient import TestClient

from tests.support.images import photo, saved
from tests.unit.api.conftest import Connect, StubEngine

IMAGE = base64.b64encode(saved(photo())).decode()


def code(client: TestClient, body: object, path: str = "/caption") -> tuple[int, str]:
    answer = client.post(path, json=body)
    return answer.status_code, answer.json()["error"]["code"]


def chat(url: str) -> dict[str, object]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"model": "embedded", "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:8265/api/jobs/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://user:secret@example.org/",
        "https://kubernetes.default.svc:6443/",
    ],
)
@pytest.mark.parametrize("path", ["/caption", "/v1/chat/completions"])
def test_both_routes_refuse_a_url_to_the_inside(client: TestClient, path: str, url: str) -> None:
    """Neither route fetches from the server's own networks, and no refusal repeats the URL or an address."""
    answer = client.post(path, json={"image_url": url} if path == "/caption" else chat(url))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "image_url_forbidden")
    assert not any(part in answer.text for part in ("127.0.0.1", "::1", "169.254", "secret", "kubernetes"))


@pytest.mark.parametrize(
    "line", ["%0aFORGED", "%0d%0aFORGED", "%1b%5b2JFORGED", "%e2%80%a8FORGED", "%c2%85FORGED"]
)
def test_a_path_forges_no_log_line(client: TestClient, caplog: pytest.LogCaptureFixture, line: str) -> None:
    """Line ends and control characters of a path stay encoded in the log."""
    with caplog.at_level(logging.INFO, "capstan"):
        client.get(f"/x{line}FORGED")
    (message,) = [record.getMessage() for record in caplog.records if "FORGED" in record.getMessage()]
    assert message.isprintable()
    assert message.isascii()


def test_an_endless_path_fills_no_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Of a path the log keeps a bounded part."""
    with caplog.at_level(logging.INFO, "capstan"):
        client.get("/" + "x" * 50_000)
    assert max(len(record.getMessage()) for record in caplog.records) < 2_000


def test_deep_json_is_refused(client: TestClient) -> None:
    """JSON of 100,000 nested lists is a 400, not the end of a stack."""
    body = b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post("/caption", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": "NaN"}, {"max_tokens": 10**30}, {"max_tokens": -1}, {"temperature": 1e308},
        {"__proto__": {"a": 1}}, {"prompt": ["a"]}, {"prompt": {"$ne": ""}}, {"image_path": "/etc/passwd"},
    ],
)  # fmt: skip
def test_odd_fields_are_refused(client: TestClient, engine: StubEngine, field: dict[str, object]) -> None:
    """Numbers out of bounds, other types and fields that are none never reach the engine."""
    assert code(client, {"image": IMAGE, **field})[0] == 400
    assert engine.asked == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_are_refused(client: TestClient, engine: StubEngine, number: str) -> None:
    """Numbers that JSON does not know, or that no type holds, are a 400."""
    body = f'{{"image": "{IMAGE}", "temperature": {number}}}'
    answer = client.post("/caption", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert engine.asked == []


def test_a_compressed_body_is_not_expanded(client: TestClient) -> None:
    """A gzip bomb as the body of a request is read as the bytes that it is."""
    body = gzip.compress(json.dumps({"image": IMAGE, "prompt": " " * 10_000_000}).encode())
    answer = client.post(
        "/caption", content=body, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert answer.status_code == 400


def test_a_data_url_bomb_is_refused(connect: Connect) -> None:
    """A data URL of more bytes than an image may have is refused before it is decoded, on both routes."""
    client, url = connect(max_image_bytes=1000), "data:image/png;base64," + "A" * 2_000
    assert code(client, {"image": url}) == (413, "image_too_large")
    assert code(client, chat(url), "/v1/chat/completions") == (413, "image_too_large")


def test_a_form_of_many_parts_is_refused(client: TestClient, engine: StubEngine) -> None:
    """A form of a thousand fields or files is a 400."""
    files = [("image", (f"{number}.png", b"x")) for number in range(1_000)]
    assert client.post("/caption", files=files).status_code == 400
    fields = {f"f{number}": "x" for number in range(1_000)}
    assert client.post("/caption", data=fields, files={"image": saved(photo())}).status_code == 400
    assert engine.asked == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\boot.ini", "a\0.png", "x" * 5_000, "; rm -rf /"]
)
def test_a_file_name_is_not_used(client: TestClient, engine: StubEngine, name: str) -> None:
    """The file name of a form's part names nothing on the server."""
    client.post("/caption", files={"image": (name, saved(photo()), "image/png")})
    assert len(engine.asked) <= 1


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods_do_nothing(client: TestClient, method: str) -> None:
    """Methods that no route has are a 405, and a request is not echoed."""
    answer = client.request(method, "/caption", headers={"x-secret": "echo-me"})
    assert answer.status_code == 405
    assert "echo-me" not in answer.text


def test_a_method_is_not_overridden(client: TestClient) -> None:
    """No header makes one method into another."""
    answer = client.get("/caption", headers={"x-http-method-override": "POST", "x-method-override": "POST"})
    assert answer.status_code == 405


@pytest.mark.parametrize(
    "path", ["/..%2f..%2fetc/passwd", "/static/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
)
def test_no_path_leads_to_a_file(client: TestClient, path: str) -> None:
    """No path of a URL names a file of the server."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_an_answer_is_not_html(client: TestClient) -> None:
    """Text that a client sent comes back as JSON, with sniffing forbidden, so that no browser runs it."""
    answer = client.get("/v1/models/<script>alert(1)</script>")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text


def test_a_page_of_another_origin_gets_no_answer(client: TestClient) -> None:
    """Without the setting, no other origin's page may read an answer or send a key."""
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = client.options("/caption", headers=headers)
    assert "access-control-allow-origin" not in answer.headers


def test_another_host_header_changes_nothing(client: TestClient) -> None:
    """A Host or X-Forwarded-Host header of another's name appears in no answer."""
    answer = client.get("/docs", headers={"host": "evil.example", "x-forwarded-host": "evil.example"})
    assert "evil.example" not in answer.text + str(answer.headers)
