"""The page of a real server, with the embedded model behind it."""

import json
import os
import subprocess

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.form import SHAPES, run
from tests.browser.test_snippets import command, copied

pytestmark = [pytest.mark.browser, pytest.mark.service]

CAPTION = "a red circle left of a blue square"
SECONDS = 60
STREAMS = 8


def choose(page: Page) -> None:
    page.set_input_files("#file", SHAPES)
    expect(page.locator("#tiling")).to_have_text("2 × 1 tiles of 56 px and a thumbnail: 12 tokens")


def test_an_uploaded_image_is_captioned(address: str, visit: Visit) -> None:
    """An uploaded image gets its caption, with the figures of the answer."""
    page = visit(address + "/")
    expect(page.locator("#model")).to_have_text("embedded · cpu · float32")
    choose(page)
    run(page)
    expect(page.get_by_role("status")).to_have_text(f"Caption: {CAPTION}")
    expect(page.locator("#caption")).to_have_text(CAPTION)
    for figure in ("first-word", "rate", "total", "tokens"):
        expect(page.locator(f"#{figure}")).not_to_have_text("–")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_caption_arrives_in_pieces(address: str, visit: Visit) -> None:
    """A caption comes in several pieces, which one of several shows: a slow reader gets some as one."""
    page = visit(address + "/")
    choose(page)
    counts = []
    for _ in range(STREAMS):
        page.locator("#run").click()
        expect(page.locator("#caption")).to_have_text(CAPTION)
        counts.append(page.locator("#caption .piece").count())
    assert max(counts) > 1


def test_a_refused_image_says_why(address: str, visit: Visit) -> None:
    """A file that is no image is refused in the server's words, with code and request_id."""
    page = visit(address + "/", refused=415)
    page.set_input_files("#file", {"name": "cat.png", "mimeType": "image/png", "buffer": b"no image"})
    expect(page.locator("#unshown")).to_contain_text("cat.png")
    run(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("code unsupported_image")
    expect(alert).to_contain_text("request_id")
    expect(page.locator("#run")).to_be_visible()


def streamed(events: str) -> str:
    """The text of a stream of server-sent events, however many pieces it came in."""
    data = [line.removeprefix("data: ") for line in events.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    choices = [choice for each in data[:-1] for choice in json.loads(each)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_the_copied_code_is_captioned_too(address: str, visit: Visit) -> None:
    """The copied curl line and the copied Python, run next to the image, print the caption."""
    page = visit(address + "/")
    choose(page)
    for tab in ("curl", "Python"):
        done = subprocess.run(  # noqa: S603 - what the page has just offered for copying
            command(tab, copied(page, tab)),
            cwd=SHAPES.parent,
            env={"PATH": os.environ["PATH"], "HOME": str(SHAPES.parent)},
            capture_output=True,
            timeout=SECONDS,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert CAPTION in (done.stdout if tab == "Python" else streamed(done.stdout))


def test_the_headers_pass_the_proxy(address: str) -> None:
    """The page's policy and types arrive through Serve's proxy, and a known file is not sent again."""
    page = httpx.get(address + "/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert page.headers["x-content-type-options"] == "nosniff"
    script = httpx.get(address + "/static/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    again = httpx.get(address + "/static/main.js", headers={"if-none-match": script.headers["etag"]})
    assert again.status_code == 304
