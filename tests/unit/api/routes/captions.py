"""What the tests of POST /caption share."""

import base64
from typing import Any

from service.protocol.request import EncodedImage
from tests.unit.api.conftest import StubEngine

IMAGE = b"\x89PNG not looked at here"
BASE64 = base64.b64encode(IMAGE).decode()


def image_and_prompt(engine: StubEngine) -> tuple[bytes, str]:
    """What the engine was last asked."""
    image, prompt = engine.asked[-1].turns[0].content
    assert isinstance(image, EncodedImage)
    assert isinstance(prompt, str)
    return image.data, prompt


def error(response: Any) -> dict[str, Any]:
    """The error of a response, whose identifier is the one in the header."""
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"]
    found = body["error"]
    assert isinstance(found, dict)
    return found
