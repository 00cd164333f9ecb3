"""One browser for the tests of this folder, and pages that watch what they do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import ARGUMENTS, find
from tests.browser.fake import Script, serve_fake

WAIT_MS = 10_000


# Playwright keeps an event loop in this thread, in which asyncio.run of other tests would not work.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find(), args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Watched:
    """What a page has asked for, and what it has complained about."""

    origin: str
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Nothing went to another host, and nothing was complained about."""
        allowed = (self.origin + "/", f"blob:{self.origin}/", "data:")
        assert [url for url in self.requested if not url.startswith(allowed)] == []
        assert self.complaints == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open an address; at the end of the test, no page may have left its host or broken its policy.

    `refused` is the status that the test expects from a request: the browser complains of every such one.
    """
    watches: list[tuple[Watched, int | None]] = []
    contexts = []

    def open_page(address: str, *, refused: int | None = None, **options: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        url = urlsplit(address)
        watched = Watched(f"{url.scheme}://{url.netloc}")
        watches.append((watched, refused))
        page.on("request", lambda request: watched.requested.append(request.url))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                watched.complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for watched, refused in watches:
        expected = f"the server responded with a status of {refused} "
        watched.complaints = [text for text in watched.complaints if refused is None or expected not in text]
        watched.check()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def fake(script: Script) -> Iterator[str]:
    """The address of the application whose chats a test answers by hand."""
    with serve_fake(script) as address:
        yield address
