"""What a full replica answers before it does anything for a request."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.api import early_refusal
from service.api.auth.keys_file import KeysFile
from service.api.auth.middleware import Authenticator
from service.api.early_refusal import EarlyRefusalMiddleware
from service.errors import ErrorCode, Refusal, RequestError
from service.metrics.record import RequestRecord
from tests.unit.api.auth.keys_files import ALICE, entry, write

FULL = RequestError(
    ErrorCode.OVERLOADED,
    "576 requests are in flight; the limit is 576",
    retry_after=2.4,
    refusal=Refusal.QUEUE,
)
REQUEST: dict[str, Any] = {"type": "http", "method": "POST", "path": "/caption", "headers": []}


class Engine:
    """An engine that has no place for the first `full` questions."""

    def __init__(self, full: int) -> None:
        self.full = full
        self.asked: list[str] = []

    def check_admission(self, client: str) -> None:
        """As the protocol says."""
        self.asked.append(client)
        if len(self.asked) <= self.full:
            raise FULL


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_refusal, "WAIT_SECONDS", 0.0)


def middleware(
    app: Any,
    engine: Engine,
    authenticator: Authenticator | None = None,
    observe: Callable[[RequestRecord], None] = lambda _: None,
) -> EarlyRefusalMiddleware:
    """The middleware in front of an application."""
    return EarlyRefusalMiddleware(
        app,
        engine=engine,  # type: ignore[arg-type]
        authenticator=authenticator or Authenticator(None),
        model="embedded",
        observe=observe,
    )


def ask(engine: Engine, authenticator: Authenticator | None = None, **scope: object) -> list[Any]:
    """What is sent for a request whose body must not be read; empty if it went through."""
    sent: list[Any] = []

    async def app(*_: object) -> None:
        pass

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(middleware(app, engine, authenticator)({**REQUEST, **scope}, receive, send))
    return sent


def test_a_full_replica_refuses_without_reading_the_body() -> None:
    """A refusal has the status, the seconds to wait and the JSON of any other error."""
    start, body = ask(Engine(full=9), headers=[(b"x-request-id", b"trace-1")])
    headers = dict(start["headers"])
    answer = json.loads(body["body"])
    assert start["status"] == 503
    assert headers[b"retry-after"] == b"3"
    assert headers[b"x-request-id"] == b"trace-1"
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    assert (answer["error"]["code"], answer["request_id"]) == ("overloaded", "trace-1")


def test_a_place_that_gets_free_meanwhile_is_taken() -> None:
    """A request that finds a place at the second look goes through."""
    assert ask(Engine(full=1)) == []


@pytest.mark.parametrize(
    "scope", [{"method": "GET"}, {"path": "/readyz"}, {"type": "websocket"}], ids=["page", "probe", "socket"]
)
def test_what_needs_no_place_goes_through(scope: dict[str, object]) -> None:
    """Only requests for text are refused, so probes of a full replica succeed."""
    engine = Engine(full=9)
    assert ask(engine, **scope) == []
    assert engine.asked == []


def test_a_prefix_makes_no_difference() -> None:
    """The route is found below the prefix at which Serve mounts the application."""
    assert ask(Engine(full=9), path="/my-api/v1/chat/completions")[0]["status"] == 503


def test_a_key_is_asked_for_by_its_name(tmp_path: Path) -> None:
    """The share of a key applies, and a key that is not known is left to those who check it."""
    known = Authenticator(KeysFile(write(tmp_path / "keys.yaml", entry("alice", ALICE))))
    engine = Engine(full=9)
    assert ask(engine, known) == []
    assert ask(engine, known, headers=[(b"authorization", b"Bearer " + ALICE.encode())])[0]["status"] == 503
    assert set(engine.asked) == {"alice"}


async def _ignore(*_: object) -> None:
    pass


def test_many_refusals_are_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of refusals does not flood the log, and each one is counted."""
    caplog.set_level(logging.WARNING)
    records: list[RequestRecord] = []

    async def flood() -> None:
        refuse = middleware(_ignore, Engine(full=1000), observe=records.append)
        for _ in range(50):
            await refuse(dict(REQUEST), _ignore, _ignore)  # type: ignore[arg-type]

    asyncio.run(flood())
    assert len(caplog.records) == 1
    assert {(one.route, one.status, one.refusal) for one in records} == {("/caption", 503, Refusal.QUEUE)}
    assert len(records) == 50
