"""The real application, except that tests send the answer to a chat piece by piece."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import uvicorn
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.application import create_application
from service.api.backend import Backend
from service.media.fetch import Fetcher, FetchOptions
from service.media.tiles import TileSpec, Tiling
from service.metrics.telemetry import Telemetry
from service.native.engine import Engine
from service.protocol.stats import EngineDescription
from service.settings import Settings
from tests.support.server import free_port

START_SECONDS = 20.0

USAGE = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}


@dataclass
class Script:
    """What the next chats answer, and what was asked."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    gone: threading.Event = field(default_factory=threading.Event)
    _chunks: "SimpleQueue[dict[str, Any] | None]" = field(default_factory=SimpleQueue)

    def say(self, piece: str) -> None:
        """Send a piece of text."""
        self._chunks.put({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})

    def finish(self, reason: str = "stop") -> None:
        """End the answer as OpenAI's API does."""
        self._chunks.put({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self._chunks.put({"choices": [], "usage": USAGE})
        self._chunks.put(None)

    def break_off(self, error: dict[str, Any]) -> None:
        """Send an error in the middle of the answer."""
        self._chunks.put(error)
        self._chunks.put(None)

    async def answer(self, request: Request) -> Response:
        """The route."""
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        if self.refusal:
            return JSONResponse(self.refusal[1], self.refusal[0])
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        try:
            while (chunk := await asyncio.to_thread(self._chunks.get)) is not None:
                yield f"data: {json.dumps(chunk)}\n\n"
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.gone.set()
            raise


class FakeEngine:
    """Describes itself and how it cuts images; generates nothing."""

    def describe(self) -> EngineDescription:
        return EngineDescription(
            runner="fused",
            device="cuda:0",
            dtype="bfloat16",
            slots=64,
            context_length=8192,
            cache_bytes=2**30,
            tiling=Tiling(TileSpec(size=448, max_tiles=12), tokens_per_tile=256),
        )


def below(prefix: str, app: ASGIApp) -> ASGIApp:
    """The application as Serve calls it below a route prefix: whole path, prefix as root path."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": prefix}, receive, send)

    return called


class AnnouncedServer(uvicorn.Server):
    """Sets `ready` once it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then say so."""
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def serve_fake(script: Script, *, prefix: str = "", keys_file: Path | None = None) -> Iterator[str]:
    """Serve the application and give its address, which ends in a slash."""
    settings = Settings(model="OpenGVLab/InternVL2-8B", keys_file=keys_file)
    backend = Backend(
        cast("Engine", FakeEngine()),
        settings,
        settings.generation_defaults,
        Fetcher(FetchOptions()),
        Telemetry.from_settings(settings),
    )
    app = create_application(backend)
    app.router.routes.insert(0, Route("/v1/chat/completions", script.answer, methods=["POST"]))
    port = free_port()
    config = uvicorn.Config(below(prefix, app), port=port, log_level="warning", lifespan="off", ws="none")
    server = AnnouncedServer(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    if not server.ready.wait(START_SECONDS):
        raise RuntimeError("the fake server did not start")
    try:
        yield f"http://127.0.0.1:{port}{prefix}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(START_SECONDS)
