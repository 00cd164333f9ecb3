"""The bodies of POST /caption."""

import base64
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.generation_defaults import DEFAULT_PROMPT
from service.protocol.request import Grammar, Sampling
from tests.unit.api.conftest import Connect, StubEngine, StubFetcher
from tests.unit.api.routes.captions import BASE64, IMAGE, error, image_and_prompt


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


def test_a_schema_reaches_the_engine(client: TestClient, engine: StubEngine) -> None:
    """A caption may have to match a JSON schema, which a form carries as text."""
    grammar = Grammar("json_schema", '{"type":"object"}')
    body = {"image": BASE64, "schema": {"type": "object"}}
    assert client.post("/caption", json=body).status_code == 200
    assert engine.asked[-1].sampling == Sampling(max_tokens=1024, grammar=grammar)
    form = {"schema": '{"type": "object"}'}
    assert client.post("/caption", files={"image": ("a", IMAGE)}, data=form).status_code == 200
    asked = engine.asked[-1].sampling.grammar
    assert asked == grammar
    assert asked.source == "schema"  # which errors name


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
    "streamed list": ({"images": [{"image": BASE64}], "stream": True}, "stream", "one image per request"),
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
        "prompt is 6 characters; the limit is 5 (CAPSTAN_MAX_PROMPT_CHARACTERS); shorten it"
    )


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
