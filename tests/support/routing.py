"""A router in this process, and a model's server that answers as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message

from service.router.application import create_router
from service.settings import Settings

SECONDS = 10.0
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Received:
    """A request as it reached the model's server."""

    line: str
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def answer(writer: asyncio.StreamWriter, body: bytes = b"{}", head: str = "") -> None:
    """Answer with status 200 and a whole body."""
    await send(writer, f"HTTP/1.1 200 OK\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)


async def send(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Send bytes as they are."""
    writer.write(content)
    await writer.drain()


@dataclass
class Model:
    """A model's server: what it has received, and an event once its client has disconnected."""

    handler: Handler = answer
    received: list[Received] = field(default_factory=list)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which has one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        lines = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in lines}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(head[0], headers, body))
        watcher = asyncio.ensure_future(self._watch(reader))
        try:
            await self.handler(writer)
        finally:
            writer.close()
            watcher.cancel()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.disconnected.set()


@dataclass(frozen=True)
class Answer:
    """What the client got; `complete` is false if the answer broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class Exchange:
    """One request to the router, whose answer arrives message by message."""

    def __init__(self, app: Starlette, state: Mapping[str, Any], scope: Message, body: list[bytes]) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        for index, piece in enumerate(body):
            more = index < len(body) - 1
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        whole = {"type": "http", "http_version": "1.1", "state": dict(state), "extensions": {}, **scope}
        self.task = asyncio.ensure_future(app(whole, self._incoming.get, self._outgoing.put))

    def disconnect(self) -> None:
        """Let the client go away."""
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def next(self) -> Message:
        """The next message of the answer."""
        return await asyncio.wait_for(self._outgoing.get(), SECONDS)

    async def answer(self) -> Answer:
        """The answer, once the router is done with the request."""
        await asyncio.wait_for(self.task, SECONDS)
        messages = [self._outgoing.get_nowait() for _ in range(self._outgoing.qsize())]
        start, parts = messages[0], messages[1:]
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        body = b"".join(part.get("body", b"") for part in parts)
        return Answer(start["status"], headers, body, bool(parts) and not parts[-1].get("more_body", False))


@dataclass(frozen=True)
class Client:
    """Sends requests to a router."""

    app: Starlette
    state: Mapping[str, Any]

    def start(self, path: str, *body: bytes, method: str = "POST", **headers: str) -> Exchange:
        """Send a request whose body has these pieces; without any it never arrives.

        A header is written with underscores.
        """
        path, _, query = path.partition("?")
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": raw,
        }
        return Exchange(self.app, self.state, scope, list(body))

    async def post(self, *body: bytes, **headers: str) -> Answer:
        """Ask for a chat completion."""
        return await self.start(CHAT, *body, **headers).answer()

    async def get(self, path: str, **headers: str) -> Answer:
        """Get a path."""
        return await self.start(path, b"", method="GET", **headers).answer()


@asynccontextmanager
async def routed(
    models: Mapping[str, Model | str], settings: Settings | None = None, *, seconds: float = SECONDS
) -> AsyncIterator[Client]:
    """A router for these models; a string is the address of one that the test has not started."""
    addresses, servers = {}, []
    for name, model in models.items():
        if isinstance(model, str):
            addresses[name] = model
            continue
        server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
        servers.append(server)
        addresses[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{name}"
    app = create_router(addresses, settings or Settings(), seconds=seconds)
    try:
        async with app.router.lifespan_context(app) as state:
            yield Client(app, state or {})
    finally:
        for server in servers:
            server.close()
