"""What the tests of POST /v1/chat/completions share."""

import base64
from typing import Any

from fastapi.testclient import TestClient

IMAGE = b"\x89PNG not looked at here"
DATA_URL = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
QUESTION = {"role": "user", "content": "What is there?"}


def image_part(url: str = DATA_URL, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def ask(client: TestClient, messages: Any = (QUESTION,), **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={"messages": messages, **fields})


def refusal(response: Any) -> tuple[int, str, str | None]:
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"]
    return response.status_code, body["error"]["code"], body["error"]["param"]
