"""Requests whose body does not arrive whole."""

import asyncio

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message

ROUTES = ("/caption", "/v1/chat/completions")


async def status_of(app: FastAPI, path: str, *messages: Message) -> tuple[int, dict[bytes, bytes]]:
    """Send the beginning of a body and nothing more; returns the status and the headers."""
    left, answer = list(messages), list[Message]()

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        answer.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await asyncio.wait_for(app(scope, receive, send), 10)
    return answer[0]["status"], dict(answer[0]["headers"])


def application(client: TestClient) -> FastAPI:
    """The application behind a client."""
    assert isinstance(client.app, FastAPI)
    return client.app
