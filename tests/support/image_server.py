"""Web servers on this machine's own addresses that answer whatever a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from service.media.fetch import Fetcher, FetchOptions
from service.media.url_policy import HostRule, UrlRules

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

NAME = "images.test"


@dataclass
class Site:
    """A server: its port, and the heads of the requests that have reached it."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    def url(self, path: str = "/", *, host: str = NAME, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def whole(
    body: bytes = b"", *, status: str = "200 OK", headers: tuple[str, ...] = (), length: int | None = None
) -> Answer:
    """Answer everything with one body, whose length may be a lie."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers)
    head = "\r\n".join((*lines, "", "")).encode("latin-1")

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)
        await writer.drain()

    return answer


def moved(*locations: str, status: str = "302 Found") -> Answer:
    """Redirect, to each location in turn by the number in the path; what is beyond them is an image."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        step = int(path.strip("/") or 0)
        if step < len(locations):
            await whole(status=status, headers=(f"Location: {locations[step]}",))(path, writer)
        else:
            await whole(b"image")(path, writer)

    return answer


@asynccontextmanager
async def site(
    answer: Answer, *, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """Serve on an address of this machine until the block ends."""
    here, tasks = Site(), set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            here.heads.append(head)
            await answer(head.split(" ")[1], writer)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, address, port, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks)


def fetcher(
    *ports: int,
    networks: tuple[str, ...] = ("127.0.0.1/32",),
    hosts: tuple[str, ...] = (NAME,),
    lookup: Callable[[str, int], list[str]] = lambda _host, _port: ["127.0.0.1"],
    http: bool = True,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> Fetcher:
    """A fetcher whose names lead to this machine, which is open to it like a network of one's own."""
    rules = UrlRules(
        http=http,
        hosts=tuple(HostRule.parse(f"{host}:{port}") for host in hosts for port in ports),
        networks=tuple(map(ip_network, networks)),
    )
    return Fetcher(FetchOptions(rules=rules, **options), lookup=lookup, tls=tls)
