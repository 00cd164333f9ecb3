"""Which requests are refused before any work is done, and on whose account they are."""

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.unit.api.auth.keys_files import ALICE, entry, write
from tests.unit.api.conftest import Connect, StubEngine
from tests.unit.api.partial_requests import ROUTES, application, status_of


@pytest.mark.parametrize("path", ROUTES)
def test_a_full_replica_answers_before_it_reads(path: str, client: TestClient, engine: StubEngine) -> None:
    """While the queue is full a request gets a 503 at once, even if its body never arrives."""
    engine.full = True
    status, headers = asyncio.run(status_of(application(client), path))
    assert (status, headers[b"retry-after"]) == (503, b"1")


def test_the_engine_learns_whose_request_it_is(connect: Connect, engine: StubEngine, tmp_path: Path) -> None:
    """Both routes pass the name of the key to the engine, which schedules keys fairly."""
    client = connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE)))
    headers = {"authorization": f"Bearer {ALICE}"}
    ask = {"messages": [{"role": "user", "content": "?"}]}
    assert client.post("/v1/chat/completions", json=ask, headers=headers).status_code == 200
    assert client.post("/caption", json={"image": "AAAA"}, headers=headers).status_code == 200
    assert [asked.client for asked in engine.asked] == ["alice", "alice"]


def test_images_of_a_request_are_counted(connect: Connect, tmp_path: Path) -> None:
    """A list of captions and a conversation are charged for each of their images."""
    keys = write(tmp_path / "keys.yaml", entry("alice", ALICE, images_per_minute=10))
    client = connect(keys_file=keys)
    client.headers["authorization"] = f"Bearer {ALICE}"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    ask = {"messages": [{"role": "user", "content": [image, image, {"type": "text", "text": "?"}]}]}
    answers = [
        client.post("/caption", json={"image": "AAAA"}),
        client.post("/caption", json={"images": [{"image": "AAAA"}] * 3}),
        client.post("/v1/chat/completions", json=ask),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.headers["x-ratelimit-remaining-images"] for answer in answers] == ["9", "6", "4"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_model_is_for_keys_that_may_use_it(path: str, connect: Connect, tmp_path: Path) -> None:
    """A key for other models gets 403, before an image is read or fetched."""
    client = connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE, models=["other"])))
    image = "https://nowhere.invalid/a.png"
    part = {"type": "image_url", "image_url": {"url": image}}
    ask = {"image_url": image} if path == "/caption" else {"messages": [{"role": "user", "content": [part]}]}
    response = client.post(path, json=ask, headers={"authorization": f"Bearer {ALICE}"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "model_forbidden")
