"""Keys in front of the whole application, as clients see them."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import Request

from service.api.auth.middleware import charge
from service.errors import StartupError
from tests.unit.api.auth.guarded_app import GuardedApp
from tests.unit.api.auth.keys_files import ALICE, entry, write
from tests.unit.api.conftest import Connect


def test_routes_that_answer_need_a_key(connect: Connect, tmp_path: Path) -> None:
    """With a keys file, captions and models need a key; health and documentation do not."""
    client = connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE)))
    for path in ("/v1/models", "/v1/models/embedded", "/v1/tiles"):
        assert client.get(path).status_code == 401
    assert client.post("/caption", json={}).status_code == 401
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/models", headers={"authorization": f"Bearer {ALICE}"}).status_code == 200


def test_a_server_without_keys_says_so(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A server without keys says so in its log at startup."""
    with caplog.at_level(logging.WARNING, "capstan"):
        connect()
    assert "CAPSTAN_KEYS_FILE is not set: anyone who reaches this server can use it" in caplog.text


def test_a_wrong_file_fails_the_start(connect: Connect, tmp_path: Path) -> None:
    """A server does not start with a keys file that has a mistake."""
    with pytest.raises(StartupError, match="requests_per_minute"):
        connect(keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE, requests_per_minute=0)))


def test_a_page_of_an_allowed_origin_can_read_a_refusal(connect: Connect, tmp_path: Path) -> None:
    """Preflights need no key, and a 401 allows the page to read it and its headers."""
    client = connect(
        keys_file=write(tmp_path / "keys.yaml", entry("alice", ALICE)), cors_origins="https://a.example"
    )
    headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
    preflight = client.options("/caption", headers=headers)
    refused = client.post("/caption", json={}, headers=headers)
    assert (preflight.status_code, refused.status_code) == (200, 401)
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-ratelimit-remaining-requests" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("given", "limits", "raised"),
    [
        ("wrong", {}, openai.AuthenticationError),
        (ALICE, {"requests_per_minute": 1}, openai.RateLimitError),
        (ALICE, {"models": ["other"]}, openai.PermissionDeniedError),
    ],
)
def test_the_openai_client_raises_its_own_errors(
    given: str, limits: dict[str, Any], raised: type[openai.APIStatusError], tmp_path: Path
) -> None:
    """OpenAI's Python client raises the class of error that it has for each refusal."""
    guarded = GuardedApp(write(tmp_path / "keys.yaml", entry("alice", ALICE, **limits)))

    @guarded.app.get("/v1/models/{name}")
    async def model(request: Request, name: str) -> dict[str, object]:
        charge(request, images=1, model=name)
        return {"id": name, "object": "model", "created": 0, "owned_by": "capstan"}

    async def ask() -> None:
        transport = httpx.ASGITransport(guarded.app)
        async with openai.AsyncOpenAI(
            api_key=given,
            base_url="http://guarded/v1",
            max_retries=0,
            http_client=httpx.AsyncClient(transport=transport),
        ) as client:
            for _ in range(2):
                await client.models.retrieve("embedded")

    with pytest.raises(raised) as caught:
        asyncio.run(ask())
    assert caught.value.code in ("invalid_api_key", "rate_limited", "model_forbidden")
