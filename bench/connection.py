"""One HTTP connection that costs the client little, so that a load of refusals measures the server."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, seconds until it was complete, and the seconds that `Retry-After` asks for (0: none)."""

    status: int
    seconds: float
    retry_after: int
    body: bytes


class Connection:
    """A connection to a server that is kept for many requests. Source: RFC 9112."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host = host
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str, *, host: str = "") -> Self:
        """Connect to an http:// address, and ask it for another `host` if one is named. Raises OSError."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        return cls(host or parts.netloc, reader, writer)

    async def post(self, path: str, body: bytes) -> Reply:
        """Send a JSON body and read the whole response.

        Raises OSError or EOFError where the connection breaks.
        """
        start = perf_counter()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        content = await self.reader.readexactly(int(headers.get("content-length", 0)))
        retry_after = int(headers.get("retry-after", 0))
        return Reply(int(status.split()[1]), perf_counter() - start, retry_after, content)

    def close(self) -> None:
        """End the connection."""
        self.writer.close()
