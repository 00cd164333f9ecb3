"""An application of a few routes behind the door of the API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from service.api.access import charge, client_of
from service.api.access.account import Accounts
from service.api.access.keys_file import KeysFile
from service.api.access.middleware import Access, AccessMiddleware
from service.api.faults import FaultMiddleware
from service.api.rendering import add_error_handlers
from service.api.request_id import RequestIdMiddleware
from tests.unit.api.access.written import ALICE


class Door:
    """An application behind the middleware, whose stream goes on while `gate` is closed."""

    def __init__(self, keys: Path | None) -> None:
        self.now = 0.0
        self.accounts = Accounts(clock=lambda: self.now)
        self.gate = asyncio.Event()
        self.app = FastAPI()
        self.app.get("/who")(self._who)
        self.app.post("/images/{count}")(self._images)
        self.app.get("/stream")(self._stream)
        self.app.get("/fail")(self._fail)
        self.app.get("/docs/deep")(self._who)
        add_error_handlers(self.app)
        self.app.add_middleware(FaultMiddleware)
        access = Access(None if keys is None else KeysFile(keys), self.accounts)
        self.app.add_middleware(AccessMiddleware, access=access)
        self.app.add_middleware(RequestIdMiddleware, header=True)

    async def _who(self, request: Request) -> str:
        return client_of(request)

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

    def running(self, name: str) -> int:
        return self.accounts._accounts[name].running

    def ask(self, *asked: tuple[str, str], key: str | None = ALICE, **headers: str) -> list[httpx.Response]:
        """Send requests one after another."""

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, root_path="/mounted")
            async with httpx.AsyncClient(transport=transport, base_url="http://door/mounted") as client:
                if key is not None:
                    headers["authorization"] = f"Bearer {key}"
                return [await client.request(method, path, headers=headers) for method, path in asked]

        return asyncio.run(asyncio.wait_for(send(), 10))

    def get(self, path: str, **rest: Any) -> httpx.Response:
        return self.ask(("GET", path), **rest)[0]
