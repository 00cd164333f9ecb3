"""Which requests are admitted, and what is counted."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Scope

from tests.unit.api.auth.guarded_app import GuardedApp
from tests.unit.api.auth.keys_files import ALICE, BOB, entry, write

Make = Callable[..., GuardedApp]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An application with a key for alice, with these limits, and one for bob, without limits."""

    def made(**limits: Any) -> GuardedApp:
        return GuardedApp(write(tmp_path / "keys.yaml", entry("alice", ALICE, **limits), entry("bob", BOB)))

    return made


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_known_key_is_admitted_under_its_name(make: Make) -> None:
    """A request with a key reaches its route, which sees the key's name."""
    response = make().get("/who")
    assert (response.status_code, response.json()) == (200, "alice")


def test_without_a_keys_file_everyone_is_admitted() -> None:
    """A server without keys needs none, and charging does nothing."""
    guarded = GuardedApp(None)
    assert guarded.get("/who", key=None).json() == ""
    assert guarded.ask(("POST", "/images/5"), key="anything")[0].status_code == 200


@pytest.mark.parametrize("path", ["/who", "/stream", "/nothing", "/docs-not", "//docs/deep"])
def test_without_a_key_nothing_is_revealed(make: Make, path: str) -> None:
    """Without a key every path gets a 401, even one that does not exist."""
    response = make().get(path, key=None)
    assert code(response) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "given", ["ck-alice", "Basic Y2s6YWxpY2U=", "Bearer", "Bearer ", "Bearer wrong", "Bearer ck-alice x", ""]
)
def test_what_is_not_a_key_is_refused(make: Make, given: str) -> None:
    """A wrong key, another scheme and an empty header get the same 401."""
    assert code(make().get("/who", key=None, authorization=given)) == (401, "invalid_api_key")


def test_a_refusal_does_not_repeat_the_key(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor the log holds the key that was sent."""
    with caplog.at_level(logging.DEBUG):
        response = make().get("/who", key="ck-almost-right")
    assert "almost" not in response.text + caplog.text


@pytest.mark.parametrize("path", ["/docs/deep", "/docs", "/openapi.json"])
def test_documentation_needs_no_key(make: Make, path: str) -> None:
    """Pages that reveal nothing need no key, also where Serve mounts the application at a prefix."""
    assert make().get(path, key=None).status_code == 200


def test_a_model_that_the_key_may_not_use_is_forbidden(make: Make) -> None:
    """A key with a list of models gets 403 for another one, with the names that it may use."""
    guarded = make(models=["embedded", "large"])
    allowed, other = guarded.ask(("POST", "/images/1?model=large"), ("POST", "/images/1?model=huge"))
    assert allowed.status_code == 200
    assert code(other) == (403, "model_forbidden")
    assert "it may use embedded, large" in other.json()["error"]["message"]
    assert other.json()["error"]["param"] == "model"


def test_a_limit_of_requests_holds(make: Make) -> None:
    """The request over the limit gets 429 with the seconds to wait, and passes after them."""
    guarded = make(requests_per_minute=2)
    first, second, third = guarded.ask(*[("GET", "/who")] * 3)
    assert (first.status_code, second.status_code, code(third)) == (200, 200, (429, "rate_limited"))
    assert third.headers["retry-after"] == "30"
    guarded.now += 30
    assert guarded.get("/who").status_code == 200


def test_a_limit_of_images_holds(make: Make) -> None:
    """Images over the limit get 429, and a request without images still passes."""
    guarded = make(images_per_minute=10)
    first, second, none = guarded.ask(("POST", "/images/8"), ("POST", "/images/4"), ("POST", "/images/0"))
    assert (first.status_code, code(second), none.status_code) == (200, (429, "rate_limited"), 200)
    assert second.headers["retry-after"] == "12"
    assert second.headers["x-ratelimit-remaining-images"] == "2"


def test_every_response_to_a_limited_key_reports_its_limits(make: Make) -> None:
    """Every response to a limited key has the rate-limit headers, errors included; others do not."""
    guarded = make(requests_per_minute=3)
    answers = guarded.ask(("GET", "/who"), ("GET", "/nothing"), ("GET", "/fail"), ("GET", "/who"))
    assert [answer.status_code for answer in answers] == [200, 404, 500, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert "x-ratelimit-limit-requests" not in guarded.get("/who", key=BOB).headers


def test_one_key_at_its_limit_leaves_the_others_alone(make: Make) -> None:
    """Each key has limits of its own."""
    guarded = make(requests_per_minute=1)
    assert [answer.status_code for answer in guarded.ask(("GET", "/who"), ("GET", "/who"))] == [200, 429]
    assert guarded.get("/who", key=BOB).status_code == 200


def scope(path: str) -> Scope:
    return {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "headers":
        [(b"authorization", f"Bearer {ALICE}".encode())],
    }  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until a condition holds."""
    while not condition():  # noqa: ASYNC110 - no event announces it
        await asyncio.sleep(0)


def test_a_stream_counts_until_its_end(make: Make) -> None:
    """A stream counts as running while it flows; when it has ended, another request may run."""
    guarded = make(concurrent_requests=1)

    async def two() -> tuple[int, int, int]:
        statuses = list[int]()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        stream = asyncio.ensure_future(guarded.app(scope("/stream"), receive, send))
        await until(lambda: len(statuses) == 1)
        await guarded.app(scope("/who"), receive, send)
        guarded.gate.set()
        await stream
        await guarded.app(scope("/who"), receive, send)
        return statuses[0], statuses[1], statuses[2]

    assert asyncio.run(asyncio.wait_for(two(), 10)) == (200, 429, 200)
    assert guarded.running() == 0


def test_a_request_of_a_client_that_disconnects_no_longer_counts(make: Make) -> None:
    """A request that is cancelled, or whose client disconnects, no longer counts as running."""
    guarded = make(concurrent_requests=1)

    async def leave() -> None:
        begun = asyncio.Event()

        async def receive() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def hold(message: Message) -> None:
            begun.set()

        async def broken(message: Message) -> None:
            raise OSError("gone")

        await guarded.app(scope("/stream"), receive, hold)
        assert guarded.running() == 0
        begun.clear()
        cancelled = asyncio.ensure_future(guarded.app(scope("/stream"), receive, hold))
        await until(lambda: guarded.running() == 1)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert guarded.running() == 0
        await asyncio.gather(guarded.app(scope("/who"), receive, broken), return_exceptions=True)

    asyncio.run(asyncio.wait_for(leave(), 10))
    assert guarded.running() == 0


def test_a_request_that_fails_no_longer_counts(make: Make) -> None:
    """A request whose route fails no longer counts as running."""
    guarded = make(concurrent_requests=1)
    assert [answer.status_code for answer in guarded.ask(*[("GET", "/fail")] * 3)] == [500, 500, 500]


def test_a_refused_request_is_not_read(make: Make) -> None:
    """With a wrong key or at a limit, a request is refused without reading its body."""
    guarded = make(requests_per_minute=1)

    async def bodies() -> list[int]:
        statuses = list[int]()

        async def receive() -> Message:
            raise AssertionError("the body was read")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        for headers in ([], scope("/")["headers"]):
            await guarded.app(scope("/who") | {"method": "POST", "headers": headers}, receive, send)
        await guarded.app(scope("/who") | {"method": "POST"}, receive, send)
        return statuses

    assert asyncio.run(bodies()) == [401, 405, 429]


def test_the_log_names_the_key(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The log line of a request has the name of its key, or a hyphen, and never the key."""
    with caplog.at_level(logging.INFO, "capstan"):
        make().ask(("GET", "/who"))
        make().ask(("GET", "/who"), key=None)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("GET")]
    assert [" key=alice " in lines[0], " key=- " in lines[1]] == [True, True]
    assert ALICE not in caplog.text.replace("key=alice", "")


def test_two_authorization_headers_are_refused(make: Make) -> None:
    """Two headers are refused: a proxy in front of the server may have checked the other one."""
    guarded = make()

    async def ask() -> int:
        transport = httpx.ASGITransport(guarded.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://guarded") as client:
            headers = [("authorization", f"Bearer {secret}") for secret in (ALICE, BOB)]
            return (await client.get("/who", headers=headers)).status_code

    assert asyncio.run(ask()) == 401
