"""Web servers on local addresses that give the answers of a test."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from service.media.fetch import Fetcher, FetchOptions
from service.media.url_policy import HostRule, UrlRules


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time a test can move on, so that waiting costs none."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped

    async def skip(self, seconds: float) -> None:
        """Move time on, and let everything that is due happen."""
        self.skipped += seconds
        await asyncio.sleep(0)


async def skip(seconds: float) -> None:
    """Move the time of the running `Clock` on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Clock)
    await loop.skip(seconds)


Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

NAME = "images.test"


@dataclass
class Site:
    """A server: its port, and the heads of the requests it received."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    def url(self, path: str = "/", *, host: str = NAME, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def whole(
    body: bytes = b"", *, status: str = "200 OK", headers: tuple[str, ...] = (), length: int | None = None
) -> Answer:
    """Give every request the same body; `length` may be wrong."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers)
    head = "\r\n".join((*lines, "", "")).encode("latin-1")

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)
        await writer.drain()

    return answer


def moved(*locations: str, status: str = "302 Found") -> Answer:
    """Redirect to the location that the number in the path selects; beyond the last one, return an image."""

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
    policy: type[UrlRules] = UrlRules,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> Fetcher:
    """A fetcher whose names resolve to this machine, which is allowed like a private network."""
    rules = policy(
        http=http,
        hosts=tuple(HostRule.parse(f"{host}:{port}") for host in hosts for port in ports),
        networks=tuple(map(ip_network, networks)),
    )
    return Fetcher(FetchOptions(rules=rules, **options), lookup=lookup, tls=tls)
