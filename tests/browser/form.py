"""The page's form as a user fills it."""

from playwright.sync_api import Page, expect

from tests.browser.fake import Script
from tests.support.server import ROOT

SHAPES = ROOT / "examples" / "images" / "shapes.png"
LINK = "https://images.example/cat.png"


def choose(page: Page) -> None:
    """Choose the example image and wait for its tiles."""
    page.set_input_files("#file", SHAPES)
    expect(page.locator("#tiles span")).to_have_count(2)


def run(page: Page) -> None:
    page.get_by_role("button", name="Caption", exact=True).click()


def sent_image(script: Script) -> str:
    url = script.asked[-1]["messages"][0]["content"][0]["image_url"]["url"]
    assert isinstance(url, str)
    return url
