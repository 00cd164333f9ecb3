"""GET /metrics, and what requests leave in the usage ledger."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.unit.api.conftest import CAPTION, Connect


def count(client: TestClient, series: str) -> float:
    """The value of a series; 0 where there is none."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series)), 0.0)


def test_requests_are_counted_by_route_and_code(client: TestClient) -> None:
    """Answers, refused bodies and streams count; scrapes and probes do not."""
    client.post("/caption", json={"image": "AAAA"})
    client.post("/caption", json={"image": "AAAA", "stream": True})
    client.post("/caption", json={"images": [{"image": "AAAA"}, {"image": "BBBB"}]})
    client.post("/caption", json={})
    client.get("/healthz")
    for code, expected in (("ok", 3), ("invalid_request", 1)):
        series = f'capstan_requests_total{{code="{code}",model="embedded",route="/caption"}}'
        assert count(client, series) == expected
    assert count(client, 'capstan_images_total{key="",model="embedded"}') == 4
    assert "/healthz" not in client.get("/metrics").text


def test_a_chat_counts_its_tokens(client: TestClient) -> None:
    """A chat and a streamed chat count their tokens."""
    for stream in (False, True):
        messages = [{"role": "user", "content": "hello"}]
        client.post("/v1/chat/completions", json={"messages": messages, "stream": stream})
    assert count(client, 'capstan_completion_tokens_total{key="",model="embedded"}') == 18


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_a_forwarded_request_finds_no_metrics(header: str, connect: Connect) -> None:
    """Metrics do not exist behind an Ingress, unless the setting says so."""
    headers = {header: "for=203.0.113.1"}
    assert connect().get("/metrics", headers=headers).status_code == 404
    assert connect(metrics_public=True).get("/metrics", headers=headers).status_code == 200


def test_the_routes_write_it_without_texts(connect: Connect, tmp_path: Path) -> None:
    """Captions and chats leave a line each, which holds neither prompt nor answer."""
    client = connect(usage_ledger=tmp_path)
    client.post("/caption", json={"image": "AAAA", "prompt": "secret question"})
    messages = [{"role": "user", "content": "secret question"}]
    client.post("/v1/chat/completions", json={"messages": messages, "stream": True})
    (file,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["route"], line["images"]) for line in lines] == [
        ("/caption", 1),
        ("/v1/chat/completions", 0),
    ]
    assert "secret" not in file.read_text()
    assert CAPTION not in file.read_text()
