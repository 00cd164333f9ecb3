"""An application with an engine that answers at once and records its requests."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from service.api.application import create_application
from service.api.backend import Backend
from service.errors import CapstanError, ErrorCode, RequestError
from service.media.fetch import Fetcher
from service.media.tiles import Tiling
from service.metrics.telemetry import Telemetry
from service.native.engine import Engine
from service.protocol.chat_format import ChatFormat
from service.protocol.request import Completion, FinishReason, Request, Timings, Usage
from service.protocol.stats import EngineDescription
from service.settings import Settings

CAPTION = "a red circle left of a blue square"
TIMINGS = Timings(queue=0.5, preparation=0.25, ready=0.25, prefill=1.0, decode=2.0, compute=0.125, tokens=9)
FINISHED = Completion(CAPTION + " ", FinishReason.STOP, Usage(60, 5, 9), TIMINGS)


@dataclass
class StubEngine:
    """Stands in for the engine behind the routes."""

    asked: list[Request] = field(default_factory=list)
    failure: Exception | None = None
    stopped: CapstanError | None = None
    failure_after: int = 0
    full: bool = False
    cancelled: bool = False
    completion: Completion | None = None
    finished: Completion = FINISHED
    tiling: Tiling | None = None
    chat_format: ChatFormat = field(default_factory=ChatFormat)
    broken_off: Usage | None = None

    def submit(self, request: Request) -> "StubEngine":
        self.asked.append(request)
        return self

    def submit_all(self, requests: Sequence[Request]) -> "list[StubEngine]":
        self.asked += requests
        return [self] * len(requests)

    async def result(self) -> Completion:
        if self.failure:
            raise self.failure
        return self.finished

    async def stream(self) -> AsyncIterator[str]:
        for index, word in enumerate(self.finished.text.split(" ")):
            if self.failure and index >= self.failure_after:
                raise self.failure
            yield f"{word} "
        self.completion = self.finished

    def cancel(self) -> None:
        self.cancelled = True

    def check_admission(self, client: str) -> None:
        if self.full:
            raise RequestError(ErrorCode.OVERLOADED, f"queue is full for {client}")

    def check(self) -> None:
        if self.stopped:
            raise self.stopped

    def describe(self) -> EngineDescription:
        return EngineDescription(
            runner="fused",
            device="cpu",
            dtype="float32",
            slots=64,
            context_length=4096,
            cache_bytes=2**30,
            startup_seconds={"read": 1.5},
            tiling=self.tiling,
            chat_format=self.chat_format,
        )


@dataclass
class StubFetcher:
    """Stands in for the fetcher of images: a few files by their URL."""

    files: dict[str, bytes] = field(default_factory=dict)

    async def fetch(self, url: str, *, field: str) -> bytes:
        if url not in self.files:
            raise RequestError(ErrorCode.IMAGE_FETCH_FAILED, f"{field} could not be fetched", field=field)
        return self.files[url]


@pytest.fixture
def fetcher() -> StubFetcher:
    return StubFetcher()


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


Connect = Callable[..., TestClient]


@pytest.fixture
def connect(engine: StubEngine, fetcher: StubFetcher) -> Iterator[Connect]:
    """Make a client of an application with these settings."""

    def make(**settings: Any) -> TestClient:
        chosen = Settings(**settings)
        backend = Backend(
            cast("Engine", engine),
            chosen,
            chosen.generation_defaults,
            cast("Fetcher", fetcher),
            Telemetry.from_settings(chosen),
        )
        return TestClient(create_application(backend), raise_server_exceptions=False)

    return make


@pytest.fixture
def client(connect: Connect) -> TestClient:
    return connect()
