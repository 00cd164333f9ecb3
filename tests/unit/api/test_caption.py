"""POST /caption over an engine that answers at once."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine.request import EncodedImage, Sampling
from service.errors import ErrorCode, RequestError
from service.settings import DEFAULT_PROMPT
from tests.unit.api.conftest import CAPTION, Connect, StubEngine, StubFetcher

IMAGE = b"\x89PNG not looked at here"
BASE64 = base64.b64encode(IMAGE).decode()


def image_and_prompt(engine: StubEngine) -> tuple[bytes, str]:
    image, prompt = engine.asked[-1].turns[0].content
    assert isinstance(image, EncodedImage)
    assert isinstance(prompt, str)
    return image.data, prompt


def error(response: Any) -> dict[str, Any]:
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"]
    found = body["error"]
    assert isinstance(found, dict)
    return found


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


@pytest.mark.parametrize("image", [BASE64, f"data:image/png;base64,{BASE64}"], ids=["plain", "data-url"])
def test_takes_an_image_as_base64(client: TestClient, engine: StubEngine, image: str) -> None:
    """An image may come as plain base64 or as a data URL."""
    assert client.post("/caption", json={"image": image}).status_code == 200
    assert image_and_prompt(engine) == (IMAGE, DEFAULT_PROMPT)


def test_takes_large_base64(client: TestClient, engine: StubEngine) -> None:
    """An image too large to be decoded between two requests still arrives whole."""
    data = bytes(range(256)) * 4096
    client.post("/caption", json={"image": base64.b64encode(data).decode()})
    assert image_and_prompt(engine)[0] == data


def test_takes_an_image_as_a_file_of_a_form(client: TestClient, engine: StubEngine) -> None:
    """A form carries the image as a file and the other fields as texts."""
    fields = {"prompt": "What is this?", "max_tokens": "7", "temperature": "0.5"}
    response = client.post("/caption", files={"image": ("any.name", IMAGE)}, data=fields)
    assert response.status_code == 200
    assert image_and_prompt(engine) == (IMAGE, "What is this?")
    assert engine.asked[-1].sampling == Sampling(max_tokens=7, temperature=0.5)


def test_takes_json_whatever_curl_calls_it(client: TestClient) -> None:
    """A JSON body is understood under the Content-Type that curl -d sends."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/caption", content=f'{{"image": "{BASE64}"}}', headers=headers).status_code == 200


def test_takes_a_path_below_an_open_root(connect: Connect, engine: StubEngine, tmp_path: Path) -> None:
    """An image may be named by a path below a root that is open to requests."""
    (tmp_path / "a.png").write_bytes(IMAGE)
    client = connect(image_roots=str(tmp_path))
    assert client.post("/caption", json={"image_path": str(tmp_path / "a.png")}).status_code == 200
    assert image_and_prompt(engine)[0] == IMAGE


def test_refuses_a_path_outside_the_roots(connect: Connect, tmp_path: Path) -> None:
    """A path that leads outside the open roots gets a 403."""
    response = connect(image_roots=str(tmp_path)).post("/caption", json={"image_path": "/etc/hostname"})
    assert response.status_code == 403
    assert error(response)["code"] == "image_path_forbidden"


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


ONE_SOURCE = "exactly one of image, image_url, image_path"

REFUSED = {
    "neither image": ({}, "image", ONE_SOURCE),
    "both images": (
        {"image": BASE64, "image_path": "a.png"},
        "image",
        "exactly one of image, image_url, image_path",
    ),
    "unknown field": ({"image": BASE64, "promt": "x"}, "promt", "promt is not a field of this request"),
    "no tokens": ({"image": BASE64, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    "hot": ({"image": BASE64, "temperature": 9}, "temperature", "less than or equal to 2"),
    "empty prompt": ({"image": BASE64, "prompt": ""}, "prompt", "at least 1 character"),
    "number as image": ({"image": 5}, "image", "valid string"),
    "text as number": ({"image": BASE64, "max_tokens": "5"}, "max_tokens", "valid integer"),
    "empty list": ({"images": []}, "images", "at least 1 item"),
    "entry without a source": ({"images": [{}]}, "images.0", "exactly one of"),
    "entry of two": ({"images": [{"image": BASE64, "image_path": "a"}]}, "images.0", "exactly one of"),
    "too many": ({"images": [{"image": BASE64}] * 17}, "images", "17 images; the limit is 16"),
    "streamed list": ({"images": [{"image": BASE64}], "stream": True}, "stream", "one image a request"),
    "not base64": ({"image": "%%%"}, "image", "base64"),
}


@pytest.mark.parametrize(("body", "field", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_a_wrong_field(client: TestClient, body: dict[str, Any], field: str, words: str) -> None:
    """A field that is wrong gets a 400 that names it."""
    response = client.post("/caption", json=body)
    assert response.status_code == 400
    found = error(response)
    assert (found["code"], found["param"], found["type"]) == (
        "invalid_request",
        field,
        "invalid_request_error",
    )
    assert words in found["message"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_refuses_a_body_that_is_no_object(client: TestClient, content: str) -> None:
    """A body that is not a JSON object gets a 400."""
    response = client.post("/caption", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, error(response)["code"]) == (400, "invalid_request")


def test_refuses_a_body_of_another_type(client: TestClient) -> None:
    """A body that is neither JSON nor a form gets a 415."""
    response = client.post("/caption", content=IMAGE, headers={"content-type": "image/png"})
    assert (response.status_code, error(response)["code"]) == (415, "unsupported_media_type")


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no file": ({"other": ("a", b"")}, {}, "other"),
    "no image": ({"prompt": (None, "x")}, {}, "image"),
    "unknown field": ({"image": ("a", IMAGE)}, {"promt": "x"}, "promt"),
    "no number": ({"image": ("a", IMAGE)}, {"max_tokens": "many"}, "max_tokens"),
    "given twice": ({"image": ("a", IMAGE)}, {"prompt": ["x", "y"]}, "prompt"),
}


@pytest.mark.parametrize(("files", "data", "field"), FORMS.values(), ids=FORMS.keys())
def test_refuses_a_wrong_form(client: TestClient, files: Any, data: Any, field: str) -> None:
    """A form with a wrong field gets a 400 that names it."""
    response = client.post("/caption", files=files, data=data)
    assert (response.status_code, error(response)["param"]) == (400, field)


def test_refuses_a_broken_form(client: TestClient) -> None:
    """A multipart body without its boundary gets a 400."""
    headers = {"content-type": "multipart/form-data"}
    response = client.post("/caption", content=b"--x", headers=headers)
    assert (response.status_code, error(response)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("form", [True, False], ids=["form", "json"])
def test_refuses_an_image_of_too_many_bytes(connect: Connect, form: bool) -> None:
    """An image over the limit on bytes gets a 413 with both numbers."""
    client = connect(max_image_bytes=10)
    response = (
        client.post("/caption", files={"image": ("a", IMAGE)})
        if form
        else client.post("/caption", json={"image": BASE64})
    )
    assert (response.status_code, error(response)["code"]) == (413, "image_too_large")
    assert "CAPSTAN_MAX_IMAGE_BYTES" in error(response)["message"]


def test_refuses_a_prompt_of_too_many_characters(connect: Connect) -> None:
    """A prompt over its limit gets a 400 with both numbers."""
    client = connect(max_prompt_characters=5)
    response = client.post("/caption", json={"image": BASE64, "prompt": "123456"})
    assert response.status_code == 400
    assert error(response)["message"] == (
        "prompt is 6 characters; the limit is 5 (CAPSTAN_MAX_PROMPT_CHARACTERS)"
    )


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_refuses_a_body_of_too_many_bytes(connect: Connect, announced: bool) -> None:
    """A body over its limit gets a 413, whether its length was announced or not."""
    content = b'{"image": "' + b"A" * 4096 + b'"}'
    body: Any = content if announced else iter([content[:100], content[100:]])
    response = connect(max_request_bytes=1024).post(
        "/caption", content=body, headers={"content-type": "application/json"}
    )
    assert (response.status_code, error(response)["code"]) == (413, "request_too_large")


def test_asks_to_come_back_when_overloaded(client: TestClient, engine: StubEngine) -> None:
    """A full queue gets a 503 that says when to try again."""
    engine.failure = RequestError(ErrorCode.OVERLOADED, "512 requests wait; the limit is 512")
    response = client.post("/caption", json={"image": BASE64})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert error(response)["type"] == "server_error"


def test_hides_a_fault(client: TestClient, engine: StubEngine) -> None:
    """A fault of the server gets a 500 that tells nothing of its inside."""
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
    """A stream that fails in its middle ends with an error event, and the engine is told."""
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


@pytest.mark.parametrize("way", ["json", "data", "images"])
def test_takes_an_image_by_its_url(
    client: TestClient, engine: StubEngine, fetcher: StubFetcher, way: str
) -> None:
    """An image may be named by its URL, in JSON, in a form and in a list."""
    url = "https://example.com/a.png"
    fetcher.files[url] = IMAGE
    bodies: dict[str, dict[str, Any]] = {
        "json": {"json": {"image_url": url}},
        "data": {"files": {"image_url": (None, url)}},
        "images": {"json": {"images": [{"image_url": url}]}},
    }
    assert client.post("/caption", **bodies[way]).status_code == 200
    assert image_and_prompt(engine)[0] == IMAGE
