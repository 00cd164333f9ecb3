"""An application of a few routes behind the middleware that checks keys."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from service.api.application import add_error_handlers
from service.api.auth.keys import parse_keys
from service.api.auth.keys_file import KeysFile
from service.api.auth.middleware import Authenticator, AuthMiddleware, charge
from service.api.auth.rate_limiter import RateLimiters
from service.api.errors import UnhandledErrorMiddleware
from service.api.middleware.request_log import RequestLogMiddleware
from service.api.request_state import state_of
from service.metrics.registry import Metrics
from service.metrics.telemetry import Telemetry
from tests.unit.api.auth.keys_files import ALICE


class GuardedApp:
    """An application behind the middleware; its stream ends when `gate` is set."""

    def __init__(self, keys: Path | None) -> None:
        self.now = 0.0
        self.limiters = RateLimiters(clock=lambda: self.now)
        self.gate = asyncio.Event()
        self.app = FastAPI()
        self.app.get("/who")(self._who)
        self.app.post("/images/{count}")(self._images)
        self.app.get("/stream")(self._stream)
        self.app.get("/fail")(self._fail)
        self.app.get("/docs/deep")(self._who)
        add_error_handlers(self.app)
        self.app.add_middleware(UnhandledErrorMiddleware)
        self._keys = keys
        authenticator = Authenticator(None if keys is None else KeysFile(keys), self.limiters)
        self.app.add_middleware(AuthMiddleware, authenticator=authenticator)
        telemetry = Telemetry(Metrics("embedded"))
        self.app.add_middleware(RequestLogMiddleware, model="embedded", id_header=True, telemetry=telemetry)

    async def _who(self, request: Request) -> str:
        return state_of(request.scope).key_name

    async def _images(self, request: Request, count: int, model: str = "embedded") -> str:
        charge(request, images=count, model=model)
        return "done"

    async def _stream(self) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            await self.gate.wait()
            yield b"two"

        return StreamingResponse(pieces())

    async def _fail(self) -> None:
        raise ValueError("a bug")

    def running(self, secret: str = ALICE) -> int:
        """How many requests of a key are running."""
        assert self._keys is not None
        key = parse_keys(self._keys.read_bytes()).find(secret)
        assert key is not None
        return self.limiters.of(key).running

    def ask(self, *asked: tuple[str, str], key: str | None = ALICE, **headers: str) -> list[httpx.Response]:
        """Send requests one after another."""

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, root_path="/mounted")
            async with httpx.AsyncClient(transport=transport, base_url="http://guarded/mounted") as client:
                if key is not None:
                    headers["authorization"] = f"Bearer {key}"
                return [await client.request(method, path, headers=headers) for method, path in asked]

        return asyncio.run(asyncio.wait_for(send(), 10))

    def get(self, path: str, **rest: Any) -> httpx.Response:
        return self.ask(("GET", path), **rest)[0]
