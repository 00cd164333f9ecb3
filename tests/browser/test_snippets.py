"""The request as code: copied code sends the same request as the page."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.fake import Script
from tests.browser.form import LINK, SHAPES, run

pytestmark = pytest.mark.browser

SECONDS = 60
# What a shell, a here-document, JSON or Python might take for something else.
PROMPT = "Is `it` $HOME, \"quoted\" or 'plain'?\nA \\ and a \\n, é 漢 😀, $(id) and {image}."
NAME = "it's $HOME `id`.png"


def copied(page: Page, tab: str) -> str:
    """What the button copies."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name=tab).click()
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert isinstance(text, str)
    return text


def command(tab: str, text: str) -> list[str]:
    return ["sh", "-c", text] if tab == "curl" else [sys.executable, "-c", text]


@pytest.mark.parametrize(("tab", "image"), [("curl", "file"), ("curl", "link"), ("Python", "file")])
def test_the_code_asks_what_the_page_asks(
    fake: str, visit: Visit, script: Script, tmp_path: Path, tab: str, image: str
) -> None:
    """The copied code, run as it stands, sends the page's own request, whatever the prompt holds."""
    page = visit(fake)
    (tmp_path / NAME).write_bytes(SHAPES.read_bytes())
    if image == "file":
        page.set_input_files("#file", tmp_path / NAME)
        expect(page.locator("#tiles span")).to_have_count(2)
    else:
        page.get_by_label("Or link an image").fill(LINK)
        page.get_by_role("button", name="Use link").click()
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_label("Max tokens").fill("7")
    page.get_by_label("API key").fill("sk-page")
    page.get_by_label("API key").blur()
    run(page)
    script.finish()
    expect(page.locator("#run")).to_be_visible()
    text = copied(page, tab)
    script.say("a red circle")
    script.finish()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CAPSTAN_API_KEY": "sk-page"}
    done = subprocess.run(  # noqa: S603 - what the page has just offered for copying
        command(tab, text), cwd=tmp_path, env=environment, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"a red circle" in done.stdout
    by_page, by_code = script.asked
    assert by_code == by_page
    assert script.keys == ["Bearer sk-page"] * 2


def test_code_selected_by_hand_is_the_same(fake: str, visit: Visit) -> None:
    """Code that is selected, not copied by the button, has the same lines."""
    page = visit(fake)
    text = copied(page, "Python")
    page.evaluate("getSelection().selectAllChildren(document.getElementById('snippet'))")
    page.keyboard.press("Control+C")
    assert page.evaluate("navigator.clipboard.readText()") == text


def test_the_code_for_a_link_is_python(fake: str, visit: Visit) -> None:
    """The Python code for a linked image reads no file, and compiles."""
    page = visit(fake)
    page.get_by_label("Or link an image").fill(LINK)
    page.get_by_role("button", name="Use link").click()
    text = copied(page, "Python")
    compile(text, "copied", "exec")
    assert LINK in text
    assert "base64" not in text
