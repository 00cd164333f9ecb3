"""Videos in the bodies of both routes."""

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.protocol.request import EncodedImage, EncodedVideo
from tests.unit.api.conftest import Connect, StubEngine, StubFetcher
from tests.unit.api.routes.captions import BASE64, error
from tests.unit.api.routes.chats import DATA_URL, IMAGE, ask, image_part, refusal, text_part, user

FIRST, SECOND = EncodedImage(IMAGE), EncodedImage(b"another file")
SECOND_BASE64 = base64.b64encode(SECOND.data).decode()
PART = "messages.0.content.0"


def video_url(*frames: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": "data:video/jpeg;base64," + ",".join(frames)}}


def video(*urls: str) -> dict[str, Any]:
    return {"type": "video", "video": list(urls)}


def test_frames_come_in_one_data_url(client: TestClient, engine: StubEngine) -> None:
    """VLLM's form of a list of frames is one video, among texts and images in their order."""
    parts = (image_part(), video_url(SECOND_BASE64, BASE64), text_part("?"), image_part(detail="low"))
    assert ask(client, user(*parts)).status_code == 200
    content = engine.asked[-1].turns[0].content
    assert content == (FIRST, EncodedVideo((SECOND, FIRST)), "?", EncodedImage(IMAGE, max_tiles=1))


def test_frames_come_as_a_list_of_urls(client: TestClient, engine: StubEngine, fetcher: StubFetcher) -> None:
    """Qwen's form is a list of URLs, of which the server fetches those that are no data URLs."""
    fetcher.files["https://example.com/2.png"] = SECOND.data
    assert ask(client, user(video(DATA_URL, "https://example.com/2.png"), image_part())).status_code == 200
    assert engine.asked[-1].turns[0].content == (EncodedVideo((FIRST, SECOND)), FIRST)
    response = ask(client, user(video(DATA_URL, "https://example.com/3.png")))
    assert refusal(response) == (400, "image_fetch_failed", f"{PART}.video.1")


WRONG = {
    "a file": ({"type": "video_url", "video_url": {"url": "https://a.test/a.mp4"}}, f"{PART}.video_url.url"),
    "a container": (
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        f"{PART}.video_url.url",
    ),
    "not base64": (video_url(BASE64, "%"), f"{PART}.video_url.url"),
    "no frames": (video(), f"{PART}.video"),
    "too many frames": (video(*[DATA_URL] * 33), "messages"),
    "thousands of frames": (video_url(*["AAAA"] * 5000), "messages"),
}


@pytest.mark.parametrize(("part", "param"), WRONG.values(), ids=WRONG.keys())
def test_refuses_what_is_no_list_of_frames(client: TestClient, part: dict[str, Any], param: str) -> None:
    """A video file, a damaged frame and too many frames are refused by their field."""
    assert refusal(ask(client, user(part))) == (400, "invalid_request", param)


def test_a_refusal_says_what_to_send(client: TestClient) -> None:
    """A video file is refused with the forms that are taken, too many frames with the limit."""
    file = ask(client, user(WRONG["a file"][0])).json()["error"]["message"]
    assert "video files are not decoded here; send data:video/jpeg;base64,FRAME,FRAME,..." in file
    many = ask(client, user(WRONG["too many frames"][0])).json()["error"]["message"]
    assert many == "request has 33 frames; the limit is 32 (CAPSTAN_MAX_FRAMES); send fewer"
    most = ask(client, user(WRONG["thousands of frames"][0])).json()["error"]["message"]
    assert most.startswith("request has over 1000 frames")


def test_frames_of_a_caption_are_one_video(client: TestClient, engine: StubEngine) -> None:
    """/caption captions frames together, in their order."""
    frames = [{"image": BASE64}, {"image": SECOND_BASE64}]
    body = client.post("/caption", json={"frames": frames, "prompt": "What happens?"}).json()
    assert body["caption"]
    assert engine.asked[-1].turns[0].content == (EncodedVideo((FIRST, SECOND)), "What happens?")


def test_frames_of_a_caption_are_limited(connect: Connect) -> None:
    """/caption has the same limit of frames, and takes frames or images, not both."""
    client = connect(max_frames=1)
    assert client.post("/caption", json={"frames": [{"image": BASE64}]}).status_code == 200
    found = error(client.post("/caption", json={"frames": [{"image": BASE64}] * 2}))
    assert (found["code"], found["param"]) == ("invalid_request", "frames")
    both = error(client.post("/caption", json={"frames": [{"image": BASE64}], "image": BASE64}))
    assert both["message"].startswith(
        "request has image and frames; it needs exactly one of image, image_url,"
    )
