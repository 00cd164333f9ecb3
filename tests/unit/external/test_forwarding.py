"""Requests to the API that another server answers."""

import base64
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.support.fake_answers import TEXT
from tests.support.fake_engine import FakeEngine
from tests.unit.external.conftest import Connect


def picture(kind: str = "PNG", **options: Any) -> str:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), (200, 30, 30)).save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def ask(client: TestClient, text: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return client.post("/v1/chat/completions", json={"messages": messages, **fields})


def chunks(text: str) -> list[Any]:
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(one) for one in events[:-1]]


def test_a_whole_answer(client: TestClient) -> None:
    """A chat request gets the other server's text, under our own name and identifier, with its cost."""
    body = ask(client, "describe").json()
    assert body["model"] == "embedded"
    assert body["id"] == f"chatcmpl-{body['request_id']}"
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": TEXT, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (60, 9)


def test_a_streamed_answer(client: TestClient) -> None:
    """A stream has the same text in pieces, then the reason for its end, then its cost if asked for."""
    response = ask(client, "describe", stream=True, stream_options={"include_usage": True})
    *pieces, last = chunks(response.text)
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in pieces) == TEXT
    assert pieces[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 69
    assert len({one["id"] for one in [*pieces, last]}) == 1


def test_a_caption(client: TestClient) -> None:
    """POST /caption works the same, whole, as plain text and for a list."""
    body = client.post("/caption", json={"image": picture()}).json()
    assert (body["caption"], body["finish_reason"]) == (TEXT, "stop")
    assert body["usage"] == {"prompt_tokens": 60, "image_tiles": 0, "completion_tokens": 9}
    plain = client.post("/caption", json={"image": picture()}, headers={"accept": "text/plain"})
    assert plain.text == TEXT
    listed = client.post("/caption", json={"images": [{"image": picture()}, {"image": "AAAA"}]}).json()
    assert listed["captions"][0]["caption"] == TEXT
    assert listed["captions"][1]["error"]["code"] == "unsupported_image"


def test_a_streamed_caption(client: TestClient) -> None:
    """A caption is streamed in pieces, and ends with the whole response."""
    text = client.post("/caption", json={"image": picture(), "stream": True}).text
    events = [one.split("\n") for one in text.strip().split("\n\n")]
    assert [name for name, _ in events] == ["event: delta"] * 3 + ["event: caption"]
    assert json.loads(events[-1][1].removeprefix("data: "))["caption"] == TEXT


def test_an_image_is_sent_as_our_decoder_saw_it(client: TestClient, server: FakeEngine) -> None:
    """The other server gets upright pixels in a new PNG file, never the file from outside."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    client.post("/caption", json={"image": picture("JPEG", exif=exif), "prompt": "What?"})
    (body,) = server.bodies
    image, text = body["messages"][0]["content"]
    kind, _, data = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 32)
    assert text == {"type": "text", "text": "What?"}


def test_a_bad_image_never_gets_there(client: TestClient, server: FakeEngine) -> None:
    """A damaged image is refused here, with the field of the request."""
    url = "data:image/png;base64," + picture()[:60]
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    response = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_image"
    assert response.json()["error"]["param"] == "messages.0.content.0.image_url.url"
    assert server.bodies == []


def test_sampling_parameters_are_forwarded(client: TestClient, server: FakeEngine) -> None:
    """What a client asks for reaches the other server, under its own model name."""
    fields = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": "x", "max_tokens": 7, "top_k": 5}
    ask(client, "describe", repetition_penalty=1.5, **fields)
    (body,) = server.bodies
    assert body["messages"] == [{"role": "user", "content": "describe"}]
    expected = fields | {"stop": ["x"], "repetition_penalty": 1.5, "model": "tiny"}
    assert {name: body[name] for name in expected} == expected
    assert "stream" not in body


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 0.5, "frequency_penalty": -0.5, "logit_bias": {"7": 2.0}},
        {"min_p": 0.1, "min_tokens": 3, "ignore_eos": True},
        {"logprobs": True, "top_logprobs": 2},
        {"structured_outputs": {"regex": "[ab]+"}},
        {"structured_outputs": {"choice": ["a", "b"]}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
            }
        },
    ],
)
def test_parameters_of_the_native_engine_are_forwarded(
    client: TestClient, server: FakeEngine, fields: dict[str, Any]
) -> None:
    """What the native engine does itself, another one is asked for in the same words."""
    ask(client, "describe", **fields)
    (body,) = server.bodies
    assert {name: body[name] for name in fields} == fields


def test_a_default_that_is_too_long_is_no_error(client: TestClient, server: FakeEngine) -> None:
    """If our default number of tokens does not fit, the other server decides; a client's own is refused."""
    assert ask(client, "too long by default").json()["choices"][0]["message"]["content"] == TEXT
    assert ["max_tokens" in body for body in server.bodies] == [True, False]
    refused = ask(client, "too long by default", max_tokens=1024)
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_the_models_name_the_engine(client: TestClient) -> None:
    """GET /v1/models says which engine runs."""
    (card,) = client.get("/v1/models").json()["data"]
    assert card["id"] == "embedded"
    assert card["engine"] == {
        "kind": "url",
        "runner": "vllm",
        "device": None,
        "dtype": None,
        "quantization": None,
        "max_concurrent_sequences": 64,
        "context_length": 512,
        "startup_seconds": {},
    }
    assert client.get("/v1/tiles", params={"width": 10, "height": 10}).json() == {"cut": None}


@pytest.mark.parametrize(
    ("text", "status", "code", "message"),
    [
        ("refuse", 400, "invalid_request", "engine refused the request: top_p must be in (0, 1], got 2."),
        (
            "refuse: context",
            400,
            "context_length_exceeded",
            "engine refused the request: This model",
        ),
        ("refuse: detail", 400, "invalid_request", "engine refused the request and did not say why"),
        ("busy", 503, "overloaded", "engine has too many requests; try again later"),
        ("leak", 400, "invalid_request", "engine refused the request and did not say why"),
        ("leak: path", 400, "invalid_request", "engine refused the request: cannot open a path, see a URL"),
        ("leak: 500", 500, "internal_error", "the engine failed on this request"),
        ("wrong key", 500, "internal_error", "the engine failed on this request"),
        ("break off", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: html", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: list", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: no choices", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: no usage", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: content", 500, "internal_error", "the engine failed on this request"),
        ("nonsense: two", 500, "internal_error", "the engine failed on this request"),
    ],
)
def test_its_errors_become_ours(client: TestClient, text: str, status: int, code: str, message: str) -> None:
    """An error of the other server is one of ours; its sentence is kept only without its internals."""
    response = ask(client, text)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"].startswith(message)
    for secret in ("/opt", "Traceback", "0x7f", "10.0.0.1", "secret"):
        assert secret not in response.text


def test_a_refused_field_is_named(client: TestClient) -> None:
    """The field that the other server refuses is the field of our error."""
    assert ask(client, "refuse").json()["error"]["param"] == "top_p"


@pytest.mark.parametrize("text", ["nonsense: chunks", "nonsense: no end"])
def test_a_stream_of_nonsense_fails(client: TestClient, text: str) -> None:
    """A stream that is not what it should be ends with our error."""
    response = ask(client, text, stream=True)
    assert '"code":"internal_error"' in response.text
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("text", ["break off", "fail late"])
def test_a_stream_that_breaks_off_says_so(client: TestClient, text: str) -> None:
    """A server that fails in the middle of a stream: the client gets what came, then our error alone."""
    response = ask(client, text, stream=True)
    first, last = [json.loads(one.removeprefix("data: ")) for one in response.text.strip().split("\n\n")]
    assert first["choices"][0]["delta"]["content"] == "a red circle "
    assert last["error"]["code"] == "internal_error"
    assert "Traceback" not in response.text


def test_a_deadline_ends_the_request(connect: Connect) -> None:
    """A server that says nothing: the request ends with a 504 at its deadline."""
    response = ask(connect(request_timeout=0.1), "hang")
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_a_server_that_is_gone(client: TestClient, server: FakeEngine, connect: Connect) -> None:
    """A server that takes no connection: the request gets a 503."""
    gone = connect()
    server.stop()
    response = ask(gone, "describe")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
