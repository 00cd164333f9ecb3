"""POST /caption with an engine that answers at once."""

import json
import tempfile

import pytest
from fastapi.testclient import TestClient

from service.errors import ErrorCode, RequestError
from service.protocol.request import Sampling
from tests.unit.api.conftest import CAPTION, Connect, StubEngine
from tests.unit.api.routes.captions import BASE64, IMAGE, error, image_and_prompt


def test_answers_with_caption_model_usage_and_request_id(client: TestClient) -> None:
    """A caption comes with the model's name, what it cost and the request's id."""
    response = client.post("/caption", json={"image": BASE64})
    assert response.status_code == 200
    body = response.json()
    assert body.pop("request_id") == response.headers["x-request-id"]
    assert body == {
        "caption": CAPTION,
        "finish_reason": "stop",
        "model": "embedded",
        "usage": {"prompt_tokens": 60, "image_tiles": 5, "completion_tokens": 9},
    }


def test_uses_the_defaults_of_the_settings(connect: Connect, engine: StubEngine) -> None:
    """A field left out takes the default that the settings name, and may be shortened to fit."""
    client = connect(default_prompt="Say.", default_max_tokens=3, default_temperature=0.25)
    client.post("/caption", json={"image": BASE64})
    assert image_and_prompt(engine)[1] == "Say."
    assert engine.asked[-1].sampling == Sampling(max_tokens=3, temperature=0.25)
    assert engine.asked[-1].shorten


def test_holds_to_the_tokens_asked_for(client: TestClient, engine: StubEngine) -> None:
    """A max_tokens that the client named is not shortened behind its back."""
    client.post("/caption", json={"image": BASE64, "max_tokens": 5})
    assert not engine.asked[-1].shorten


def test_an_overloaded_server_asks_for_a_retry(client: TestClient, engine: StubEngine) -> None:
    """A full queue gets a 503 that says when to try again."""
    engine.failure = RequestError(ErrorCode.OVERLOADED, "512 requests wait; the limit is 512")
    response = client.post("/caption", json={"image": BASE64})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert error(response)["type"] == "server_error"


def test_an_upload_needs_no_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of two megabytes is read without a temporary file, so a full disk does not fail it."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    image = b"\x89PNG" + bytes(2 * 2**20)
    response = client.post("/caption", files={"image": image})
    assert (response.status_code, response.json()["caption"]) == (200, CAPTION)


def test_a_bug_reveals_nothing(client: TestClient, engine: StubEngine) -> None:
    """A bug gets a 500 that reveals no internals."""
    engine.failure = ZeroDivisionError("secret detail")
    response = client.post("/caption", json={"image": BASE64})
    assert (response.status_code, error(response)["code"]) == (500, "internal_error")
    assert "secret" not in response.text


def test_answers_a_list_in_order(client: TestClient, engine: StubEngine) -> None:
    """Each image of a list is captioned by itself, and an error of one does not lose the others."""
    body = {"images": [{"image": BASE64}, {"image": "%"}, {"image_path": "a.png"}, {"image": BASE64}]}
    response = client.post("/caption", json=body)
    assert response.status_code == 200
    found = response.json()
    assert [item["caption"] for item in found["captions"]] == [CAPTION, None, None, CAPTION]
    assert [item["error"] and item["error"]["param"] for item in found["captions"]] == [
        None,
        "images.1.image",
        "images.2.image_path",
        None,
    ]
    assert found["usage"] == {"prompt_tokens": 120, "image_tiles": 10, "completion_tokens": 18}
    assert found["request_id"] == response.headers["x-request-id"]


def test_several_files_of_a_form_are_a_list(client: TestClient, engine: StubEngine) -> None:
    """A form with several files is answered as a list."""
    response = client.post("/caption", files=[("image", ("a", IMAGE)), ("image", ("b", IMAGE))])
    assert [item["caption"] for item in response.json()["captions"]] == [CAPTION, CAPTION]


def test_streams_server_sent_events(client: TestClient) -> None:
    """With stream, new text comes as delta events, and the whole answer as the last event."""
    response = client.post("/caption", json={"image": BASE64, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in response.text.strip().split("\n\n")]
    assert {name for name, _ in events[:-1]} == {"event: delta"}
    texts = [json.loads(data.removeprefix("data: "))["text"] for _, data in events[:-1]]
    assert len(texts) > 1
    assert "".join(texts).strip() == CAPTION
    assert events[-1][0] == "event: caption"
    assert json.loads(events[-1][1].removeprefix("data: "))["caption"] == CAPTION


def test_an_error_before_the_first_word_has_its_status(client: TestClient, engine: StubEngine) -> None:
    """A stream that fails before it has begun is answered like any other request."""
    engine.failure = RequestError(ErrorCode.OVERLOADED, "full")
    response = client.post("/caption", json={"image": BASE64, "stream": True})
    assert (response.status_code, error(response)["code"]) == (503, "overloaded")


@pytest.mark.parametrize(
    ("failure", "code"),
    [(RequestError(ErrorCode.DEADLINE_EXCEEDED, "late"), "deadline_exceeded"), (OSError(), "internal_error")],
    ids=["expected", "bug"],
)
def test_an_error_in_the_middle_is_the_last_event(
    client: TestClient, engine: StubEngine, failure: Exception, code: str
) -> None:
    """A stream that fails halfway ends with an error event, and its request is cancelled."""
    engine.failure_after, engine.failure = 2, failure
    response = client.post("/caption", json={"image": BASE64, "stream": True})
    assert response.status_code == 200
    name, data = response.text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == code
    assert engine.cancelled


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("text/plain", True),
        ("text/plain, */*;q=0.5", True),
        ("text/plain, */*", True),
        ("text/plain;q=0.5, application/json", False),
        ("application/json, text/plain, */*", False),
        ("application/*;q=0.2, text/plain;q=0.9", True),
        ("text/plain;q=zero", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_accept_decides_between_text_and_json(client: TestClient, accept: str, text: bool) -> None:
    """A client that would rather have plain text gets the bare caption."""
    response = client.post("/caption", json={"image": BASE64}, headers={"accept": accept})
    if text:
        assert (response.text, response.headers["content-type"]) == (CAPTION, "text/plain; charset=utf-8")
    else:
        assert response.json()["caption"] == CAPTION
