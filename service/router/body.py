"""What the router reads in a request body: the model and the first image or video."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pydantic_core

from service.errors import ErrorCode, RequestError


@dataclass(frozen=True, slots=True)
class RoutedBody:
    """`model` as sent, whatever its type, and the SHA-256 of the first image's or video's URL or data."""

    model: object = None
    image: str | None = None


def read_body(content: bytes) -> RoutedBody:
    """Read a JSON body. All other mistakes in it are left to the replica. Raises RequestError."""
    if not content:
        return RoutedBody()
    try:
        document = pydantic_core.from_json(content)
    except ValueError:
        raise RequestError(ErrorCode.INVALID_REQUEST, "body is not valid JSON") from None
    if not isinstance(document, dict):
        raise RequestError(ErrorCode.INVALID_REQUEST, "body is not a JSON object; it needs the field model")
    url = next(_image_urls(document.get("messages")), None)
    image = None if url is None else hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()
    return RoutedBody(document.get("model"), image)


def _image_urls(messages: object) -> Iterator[str]:
    for message in _dicts(messages):
        for part in _dicts(message.get("content")):
            frames = part.get("video")
            first = frames[0] if isinstance(frames, list) and frames else None
            for shown in (part.get("image_url"), part.get("video_url"), first):
                url = shown.get("url") if isinstance(shown, dict) else shown
                if isinstance(url, str):
                    yield url


def _dicts(items: object) -> Iterator[dict[str, object]]:
    if isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))
