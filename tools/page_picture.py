"""Draws docs/images/page.png, the README's picture of the page, from a server on port 8000.

`make serve` in one terminal, `python -m tools.page_picture` in another. It needs Chromium.
"""

from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.browser.chromium import ARGUMENTS, find

ADDRESS = "http://127.0.0.1:8000/"
IMAGE = Path("examples/images/shapes.png")
OUT = Path("docs/images/page.png")
WIDTH, HEIGHT = 1280, 860


def main() -> None:
    """Caption the example image and take a picture of the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(ARGUMENTS))
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce", color_scheme="light"
        )
        page.goto(ADDRESS)
        page.set_input_files("#file", IMAGE)
        expect(page.locator("#tiles span")).to_have_count(2)
        page.locator("#run").click()
        expect(page.locator("#rate")).to_contain_text("tokens/s")
        page.mouse.move(0, 0)
        page.screenshot(path=OUT, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
