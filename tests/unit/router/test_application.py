"""What the router answers itself."""

import asyncio
import hashlib
import json
import logging
from pathlib import Path

import pytest

from service.router.__main__ import main
from service.settings import Settings
from tests.support.routing import Answer, Client, Model, routed

NAMES = ("a", "team/b")


def get(path: str, settings: Settings | None = None, **headers: str) -> Answer:
    """Get a path of a router for two models that are not there."""

    async def ask() -> Answer:
        async with routed(dict.fromkeys(NAMES, "http://127.0.0.1:9"), settings) as client:
            return await client.get(path, **headers)

    return asyncio.run(ask())


def test_all_models_are_listed_without_asking_them() -> None:
    """The list has every model, even one that does not run, and each can be found by its name."""
    listed = json.loads(get("/v1/models").body)
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == list(NAMES)
    assert {card["object"] for card in listed["data"]} == {"model"}
    assert json.loads(get("/v1/models/team/b").body)["id"] == "team/b"
    missing = get("/v1/models/c")
    assert (missing.status, json.loads(missing.body)["error"]["code"]) == (404, "model_not_found")


def test_other_paths_do_not_exist() -> None:
    """Only /v1 is served; the error says so."""
    missing = get("/caption")
    error = json.loads(missing.body)["error"]
    assert (missing.status, error["code"]) == (404, "not_found")
    assert error["message"] == "this address serves /v1 and /-/healthz alone"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a file that has one key."""
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys: [{{name: team, sha256: {hashlib.sha256(b'KEY').hexdigest()}}}]")
    return Settings(keys_file=file)


def test_a_key_is_needed_where_there_are_keys(settings: Settings) -> None:
    """A request with an unknown key is refused; the health check needs none."""
    assert get("/v1/models", settings).status == 401
    assert get("/v1/models", settings, authorization="Bearer other").status == 401
    assert get("/v1/models", settings, authorization="Bearer KEY").status == 200
    assert get("/-/healthz", settings).status == 200


def test_an_unknown_key_is_refused_before_the_body_is_read(settings: Settings) -> None:
    """A request without a known key is answered while its body is still to come, and reaches no model."""
    model = Model()

    async def ask(client: Client) -> Answer:
        return await client.start("/v1/chat/completions", content_length="50").answer()

    async def check() -> None:
        async with routed({"a": model}, settings) as client:
            assert (await ask(client)).status == 401

    asyncio.run(check())
    assert not model.received


def test_no_secret_and_no_prompt_is_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a request that fails has its model and identifier, and neither key nor prompt."""

    async def ask() -> None:
        async with routed({"a": "http://127.0.0.1:9"}, settings) as client:
            content = b'{"model": "a", "messages": [{"role": "user", "content": "PROMPT"}]}'
            await client.post(content, authorization="Bearer KEY", x_request_id="mine")

    with caplog.at_level(logging.DEBUG, "capstan"):
        asyncio.run(ask())
    assert "model=a request_id=mine" in caplog.text
    assert "KEY" not in caplog.text
    assert "PROMPT" not in caplog.text


@pytest.mark.parametrize("model", ["a", "a=", "=http://x", "a=ftp://x", "a=/x"])
def test_a_model_without_an_address_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says how a model is written."""
    with pytest.raises(SystemExit):
        main(["--model", model])
    assert f"{model} is not NAME=URL, such as a=http://serve:8000/a" in capsys.readouterr().err
