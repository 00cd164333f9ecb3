"""What the router reads in a body."""

import hashlib
import json
from typing import Any

import pytest

from service.router.body import read_body


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:,x"}},
        {"type": "video_url", "video_url": {"url": "data:,x"}},
        {"type": "video", "video": ["data:,x", "data:,y"]},
    ],
)
def test_an_image_or_the_first_frame_decides(part: dict[str, Any]) -> None:
    """Requests about the same image or video have the same digest, in whatever form it comes."""
    content = [{"type": "text", "text": "?"}, part, {"type": "image_url", "image_url": {"url": "data:,z"}}]
    found = read_body(json.dumps({"messages": [{"role": "user", "content": content}]}).encode())
    assert found.image == hashlib.sha256(b"data:,x").hexdigest()


@pytest.mark.parametrize("video", [[], "x", [5], None])
def test_a_video_that_is_none_is_left_to_the_replica(video: object) -> None:
    """A malformed video is no reason for the router to refuse."""
    content = [{"type": "video", "video": video}]
    body = json.dumps({"model": "a", "messages": [{"role": "user", "content": content}]}).encode()
    assert (read_body(body).model, read_body(body).image) == ("a", None)
