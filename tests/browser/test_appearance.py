"""How the page looks and is operated: themes, widths, keyboard, screen readers, motion."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.fake import Script
from tests.browser.form import choose, run

pytestmark = pytest.mark.browser

# Of every text in view: its color against the nearest background, as WCAG 2.2 reckons contrast.
CONTRAST = """() => {
    const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const shares = [0.2126, 0.7152, 0.0722];
    const light = (rgb) => shares.reduce((sum, share, i) => sum + share * channel(rgb[i] / 255), 0);
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const color = numbers(getComputedStyle(one).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll("body *")].filter((element) =>
        element.checkVisibility() && !element.closest(".unseen, #tiles") &&
        [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    return texts.map((element) => {
        const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("path", ["", "docs"])
def test_both_themes_can_be_read(fake: str, visit: Visit, script: Script, path: str) -> None:
    """In the light and in the dark theme every text has a contrast of at least 4.5 to 1."""
    script.refusal = (400, {"error": {"message": "no", "code": "invalid_image"}, "request_id": "r"})
    page = visit(fake + path, reduced_motion="reduce", refused=400)
    if path:
        expect(page.locator("article").first).to_be_visible()
    else:
        choose(page)
        run(page)
        expect(page.get_by_role("alert")).to_be_visible()
    grounds = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(CONTRAST) == []
    light, dark = (int(ground.split("(")[1].split(",")[0]) for ground in grounds)
    assert dark < 64
    assert light > 192


@pytest.mark.parametrize("path", ["", "docs"])
def test_nothing_is_wider_than_the_screen(fake: str, visit: Visit, path: str) -> None:
    """On a phone and on a desk the page scrolls in one direction only."""
    page = visit(fake + path)
    if path:
        expect(page.locator("article").first).to_be_visible()
    else:
        choose(page)
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(fake: str, visit: Visit) -> None:
    """Every visible field and button has a name for screen readers."""
    page = visit(fake)
    choose(page)
    controls = page.locator("input, textarea, button, pre[tabindex]")
    for index in range(controls.count()):
        if controls.nth(index).is_visible():
            expect(controls.nth(index)).to_have_accessible_name(re.compile(r"\S"))
    expect(page.get_by_role("heading", level=1)).to_have_count(1)


def test_the_tabs_follow_the_arrow_keys(fake: str, visit: Visit) -> None:
    """Arrow keys change between curl and Python, as in any list of tabs."""
    page = visit(fake)
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("from openai import OpenAI")
    page.keyboard.press("Home")
    expect(page.get_by_role("tabpanel")).to_contain_text("curl -N")


def test_who_wants_no_motion_gets_none(fake: str, visit: Visit, script: Script) -> None:
    """Where the system asks for less motion, nothing is animated, not even while a caption arrives."""
    page = visit(fake, reduced_motion="reduce")
    choose(page)
    run(page)
    script.say("a red")
    expect(page.locator("#caption")).to_have_text("a red")
    assert page.evaluate("document.getAnimations().length") == 0
    script.finish()
    expect(page.locator("#run")).to_be_visible()
