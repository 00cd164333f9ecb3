"""Requests to the router, and what a model answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import wraps

STREAM = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @wraps(test)
    def call(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return call


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def picture(url: str, **fields: object) -> bytes:
    """A request with one image."""
    part = {"type": "image_url", "image_url": {"url": url}}
    return body(messages=[{"role": "user", "content": [part]}], **fields)


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


async def close(writer: asyncio.StreamWriter) -> None:
    """Accept a request and answer nothing."""
    writer.close()
