"""What is refused before it costs anything: bodies that nobody will answer, or that do not come."""

import asyncio
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from service.api.body_limit import BodyLimitMiddleware
from tests.unit.api.access.written import ALICE, entry, write
from tests.unit.api.conftest import Connect, StubEngine

ROUTES = ("/caption", "/v1/chat/completions")


async def status_of(app: FastAPI, path: str, *messages: Message) -> tuple[int, dict[bytes, bytes]]:
    """Send the beginning of a body and nothing more."""
    left, answer = list(messages), list[Message]()

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        answer.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await asyncio.wait_for(app(scope, receive, send), 10)
    return answer[0]["status"], dict(answer[0]["headers"])


def application(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


@pytest.mark.parametrize("path", ROUTES)
def test_a_full_replica_answers_before_it_reads(path: str, client: TestClient, engine: StubEngine) -> None:
    """While the queue is full a request gets its 503 at once, though its body never comes."""
    engine.full = True
    status, headers = asyncio.run(status_of(application(client), path))
    assert (status, headers[b"retry-after"]) == (503, b"1")


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_stops_is_given_up(path: str, connect: Connect) -> None:
    """A body whose end does not come in time gets a 408, and its connection is closed."""
    begun: Message = {"type": "http.request", "body": b'{"image":', "more_body": True}
    app = application(connect(body_timeout=0.01))
    status, headers = asyncio.run(status_of(app, path, begun))
    assert (status, headers[b"connection"]) == (408, b"close")


def test_a_slow_answer_to_a_quick_body_is_no_fault() -> None:
    """The seconds for the body end with the body: the news that the client has gone may come at any time."""
    received = list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([(await receive())["type"], (await receive())["type"]])

    async def serve() -> None:
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": b"{}"}]

        async def receive() -> Message:
            if messages:
                asyncio.get_running_loop().call_later(0.03, gone.set)
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError

        await BodyLimitMiddleware(app, limit=9, seconds=0.01)({"type": "http", "headers": []}, receive, send)

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert received == ["http.request", "http.disconnect"]


def test_the_engine_learns_whose_request_it_is(connect: Connect, engine: StubEngine, tmp_path: Path) -> None:
    """Both routes tell the engine the name of the key, by which it is fair."""
    client = connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE)))
    headers = {"authorization": f"Bearer {ALICE}"}
    ask = {"messages": [{"role": "user", "content": "?"}]}
    assert client.post("/v1/chat/completions", json=ask, headers=headers).status_code == 200
    assert client.post("/caption", json={"image": "AAAA"}, headers=headers).status_code == 200
    assert [asked.client for asked in engine.asked] == ["alice", "alice"]


def test_images_of_a_request_are_counted(connect: Connect, tmp_path: Path) -> None:
    """A list of captions and a conversation are charged for each image that they hold."""
    keys = write(tmp_path / "keys.yaml", entry("alice", ALICE, images_per_minute=100))
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
    assert [answer.headers["x-ratelimit-remaining-images"] for answer in answers] == ["99", "96", "94"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_model_is_for_keys_that_may_use_it(path: str, connect: Connect, tmp_path: Path) -> None:
    """A key for other models gets 403, before an image is read or fetched."""
    client = connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE, models=["other"])))
    image = "https://nowhere.invalid/a.png"
    part = {"type": "image_url", "image_url": {"url": image}}
    ask = {"image_url": image} if path == "/caption" else {"messages": [{"role": "user", "content": [part]}]}
    response = client.post(path, json=ask, headers={"authorization": f"Bearer {ALICE}"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "model_forbidden")
