"""The API in front of a server in a thread, whose faults a test chooses."""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from service.api.application import create_application
from service.api.backend import Backend
from service.api.bodies.images import image_limits
from service.external.engine import ExternalEngine, WatchOptions
from service.external.start import external_engine
from service.media.decode import LocalDecoder
from service.media.fetch import Fetcher
from service.metrics.telemetry import Telemetry
from service.settings import Settings
from tests.support.fake_engine import FakeEngine, fake_engine

# Quick, so that a test need not wait.
WATCH = WatchOptions(period=0.02, silence=0.2)
SECONDS = 10.0

Start = Callable[..., ExternalEngine]
Connect = Callable[..., TestClient]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail after ten seconds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[FakeEngine]:
    with fake_engine() as running:
        yield running


@pytest.fixture
def start(server: FakeEngine) -> Iterator[Start]:
    """Start the engine in front of the server."""
    engines: list[ExternalEngine] = []

    def begin(**changes: Any) -> ExternalEngine:
        settings = Settings(**{"engine": "url", "engine_url": server.url, **changes})
        engine = external_engine(settings, 0, LocalDecoder(image_limits(settings)), watch=WATCH)
        engine.start()
        engines.append(engine)
        return engine

    yield begin
    for engine in engines:
        engine.close(SECONDS)


@pytest.fixture
def connect(server: FakeEngine, start: Start) -> Iterator[Connect]:
    """Make a client of the API with these settings; all its requests come from one event loop."""
    running: list[tuple[TestClient, ExternalEngine]] = []

    def make(**changes: Any) -> TestClient:
        settings = Settings(**{"engine": "url", "engine_url": server.url, **changes})
        engine = start(**changes)
        fetcher, telemetry = cast("Fetcher", None), Telemetry.from_settings(settings)
        backend = Backend(engine, settings, settings.generation_defaults, fetcher, telemetry)
        client = TestClient(create_application(backend), raise_server_exceptions=False)
        client.__enter__()
        running.append((client, engine))
        return client

    yield make
    server.proceed.set()
    for client, engine in running:
        engine.close(SECONDS)
        client.__exit__(None, None, None)


@pytest.fixture
def client(connect: Connect) -> TestClient:
    return connect()
