"""The page over a server whose chats are answered by hand."""

import base64
import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.fake import Script, serve_fake
from tests.browser.form import LINK, SHAPES, choose, run, sent_image

pytestmark = pytest.mark.browser


def test_the_tiles_lie_over_the_image(fake: str, visit: Visit) -> None:
    """A chosen image shows how the server cuts it: the grid, the thumbnail and the tokens."""
    page = visit(fake)
    choose(page)
    expect(page.locator("#tiling")).to_have_text("2 × 1 tiles of 448 px and a thumbnail: 768 tokens")
    expect(page.get_by_role("img", name="The image to caption: shapes.png")).to_be_visible()
    expect(page.locator("#thumbnail")).to_be_visible()
    image, second = page.locator("#preview").bounding_box(), page.locator("#tiles span").nth(1).bounding_box()
    assert image is not None
    assert second is not None
    assert second["x"] == pytest.approx(image["x"] + image["width"] / 2, abs=1)
    assert second["height"] == pytest.approx(image["height"], abs=1)
    page.get_by_label("Show tiles").uncheck()
    expect(page.locator("#tiles span")).to_have_count(0)


def test_the_caption_arrives_word_by_word(fake: str, visit: Visit, script: Script) -> None:
    """Each piece of the stream is shown as it comes, and the figures when the answer is whole."""
    page = visit(fake)
    choose(page)
    run(page)
    caption = page.locator("#caption")
    script.say(" a red")
    expect(caption).to_have_text("a red")
    assert caption.get_attribute("aria-busy") == "true"
    script.say(" circle")
    expect(caption).to_have_text("a red circle")
    script.finish()
    expect(page.get_by_role("status")).to_have_text("Caption: a red circle")
    expect(page.locator("#first-word")).to_contain_text("s")
    expect(page.locator("#rate")).to_contain_text("tokens/s")
    expect(page.locator("#tokens")).to_have_text("60, 9")
    encoded = base64.b64encode(SHAPES.read_bytes()).decode()
    assert sent_image(script) == f"data:image/png;base64,{encoded}"
    assert "max_tokens" not in script.asked[0]
    assert script.asked[0]["stream_options"] == {"include_usage": True}


def test_stop_ends_the_stream(fake: str, visit: Visit, script: Script) -> None:
    """Stop keeps the text so far, and the server sees the disconnect."""
    page = visit(fake)
    choose(page)
    run(page)
    script.say("a red")
    expect(page.locator("#caption")).to_have_text("a red")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#ending")).to_have_text("Stopped: the caption is incomplete.")
    expect(page.locator("#caption")).to_have_text("a red")
    expect(page.locator("#run")).to_be_focused()
    script.say("late")
    assert script.gone.wait(10)


def test_what_the_form_says_is_sent(fake: str, visit: Visit, script: Script) -> None:
    """Prompt, max tokens and temperature of the form are those of the request, sent with Ctrl+Enter."""
    page = visit(fake)
    choose(page)
    page.get_by_label("Prompt").fill("What is this?")
    page.get_by_label("Max tokens").fill("7")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Temperature").press("Control+Enter")
    script.finish("length")
    expect(page.locator("#ending")).to_have_text("The caption was cut off at max tokens.")
    (asked,) = script.asked
    assert (asked["max_tokens"], asked["temperature"]) == (7, 0.5)
    assert asked["messages"][0]["content"][1] == {"type": "text", "text": "What is this?"}


def test_an_error_is_shown_whole(fake: str, visit: Visit, script: Script) -> None:
    """A refusal shows its message, code, status and request_id."""
    error = {"message": "image is 41.2 megapixels; the limit is 40", "code": "image_too_large"}
    script.refusal = (413, {"error": error, "request_id": "trace-9"})
    page = visit(fake, refused=413)
    choose(page)
    run(page)
    expect(page.get_by_role("alert")).to_have_text(
        "Image is 41.2 megapixels; the limit is 40code image_too_largestatus 413request_id trace-9"
    )
    expect(page.locator("#run")).to_be_visible()


def test_an_error_within_the_stream_is_shown(fake: str, visit: Visit, script: Script) -> None:
    """An error after some words leaves the words and shows its code."""
    page = visit(fake)
    choose(page)
    run(page)
    script.say("a red")
    script.break_off({"error": {"message": "too late", "code": "deadline_exceeded"}, "request_id": "trace-8"})
    expect(page.get_by_role("alert")).to_contain_text("deadline_exceeded")
    expect(page.get_by_role("alert")).to_contain_text("trace-8")
    expect(page.locator("#caption")).to_have_text("a red")


def test_an_image_can_be_linked(fake: str, visit: Visit, script: Script) -> None:
    """A link goes to the server as it is; the page says why it shows no preview."""
    page = visit(fake)
    page.get_by_label("Or link an image").fill(LINK)
    page.get_by_role("button", name="Use link").click()
    expect(page.locator("#unshown")).to_contain_text(LINK)
    expect(page.locator("#unshown")).to_contain_text("this page contacts no other host")
    run(page)
    script.finish()
    expect(page.locator("#run")).to_be_visible()
    assert sent_image(script) == LINK


def test_a_link_must_be_https(fake: str, visit: Visit, script: Script) -> None:
    """A link of another scheme is refused at its field, before anything is sent."""
    page = visit(fake)
    page.get_by_label("Or link an image").fill("http://images.example/cat.png")
    page.get_by_role("button", name="Use link").click()
    assert "https://" in page.locator("#link").evaluate("field => field.validationMessage")
    expect(page.locator("#unshown")).to_be_hidden()


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_an_image_can_be_pasted_and_dropped(fake: str, visit: Visit, event: str) -> None:
    """An image from the clipboard, or dropped anywhere, is taken like a chosen one."""
    page = visit(fake)
    page.evaluate(
        """([event, encoded]) => {
            const bytes = Uint8Array.from(atob(encoded), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "image.png", { type: "image/png" }));
            document.body.dispatchEvent(event === "paste"
                ? new ClipboardEvent(event, { clipboardData: transfer, bubbles: true })
                : new DragEvent(event, { dataTransfer: transfer, bubbles: true }));
        }""",
        [event, base64.b64encode(SHAPES.read_bytes()).decode()],
    )
    expect(page.locator("#size")).to_have_text("image.png, 448 × 224 px")
    expect(page.locator("#tiles span")).to_have_count(2)


def test_the_example_needs_no_file(fake: str, visit: Visit) -> None:
    """The page has an example image."""
    page = visit(fake)
    page.get_by_role("button", name="Use the example").click()
    expect(page.locator("#size")).to_have_text("example.png, 448 × 224 px")
    expect(page.locator("#run")).to_be_focused()


def test_a_file_without_preview_can_be_sent(fake: str, visit: Visit, script: Script) -> None:
    """A file that the browser cannot decode is left to the server to judge."""
    page = visit(fake)
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"})
    expect(page.locator("#unshown")).to_contain_text("notes.txt")
    run(page)
    script.finish()
    expect(page.locator("#run")).to_be_visible()
    assert sent_image(script).endswith(base64.b64encode(b"no image").decode())


def test_a_key_stays_in_its_tab(fake: str, visit: Visit, script: Script) -> None:
    """A key travels in the Authorization header alone, outlives a reload, and is not in the code."""
    page = visit(fake)
    page.get_by_label("API key").fill("sk-secret")
    page.get_by_label("API key").blur()
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("sk-secret")
    choose(page)
    run(page)
    script.finish()
    expect(page.locator("#run")).to_be_visible()
    assert script.keys == ["Bearer sk-secret"]
    assert "secret" not in page.url
    assert page.evaluate("localStorage.length") == 0
    expect(page.locator("#snippet")).to_contain_text('-H "Authorization: Bearer $CAPSTAN_API_KEY"')
    expect(page.locator("#snippet")).not_to_contain_text("secret")


def test_a_server_with_keys_asks_for_one(visit: Visit, script: Script, tmp_path: Path) -> None:
    """Where keys are needed the page opens without one, says so, and goes on once the key is right."""
    digest = hashlib.sha256(b"right").hexdigest()
    (tmp_path / "keys.yaml").write_text(f"keys: [{{name: page, sha256: {digest}}}]")
    with serve_fake(script, keys_file=tmp_path / "keys.yaml") as address:
        page = visit(address, refused=401)
        expect(page.locator("#key-note")).to_contain_text("This server requires a key.")
        page.get_by_label("API key").fill("wrong")
        page.get_by_label("API key").blur()
        expect(page.locator("#key-note")).to_have_text("The server rejected this key.")
        page.get_by_label("API key").fill("right")
        page.get_by_label("API key").blur()
        expect(page.locator("#model")).to_contain_text("InternVL2-8B")
        choose(page)
        expect(page.locator("#key-note")).to_contain_text("stays in this tab")


def test_a_caption_is_text(fake: str, visit: Visit, script: Script) -> None:
    """Markup in a caption or in a file's name is shown, not run."""
    page = visit(fake)
    markup = "<img src=x onerror=alert(1)>"
    page.set_input_files(
        "#file", {"name": f"{markup}.png", "mimeType": "image/png", "buffer": SHAPES.read_bytes()}
    )
    expect(page.locator("#tiles span")).to_have_count(2)
    run(page)
    script.say(markup)
    script.finish()
    expect(page.locator("#caption")).to_have_text(markup)
    assert page.locator("#caption img").count() == 0


def test_the_page_works_below_a_prefix(visit: Visit, script: Script) -> None:
    """Below a route prefix, with its slash or without, page, API and reference are found."""
    with serve_fake(script, prefix="/my-api") as address:
        page = visit(address.rstrip("/"))
        assert page.url == address
        choose(page)
        run(page)
        script.say("found")
        script.finish()
        expect(page.locator("#caption")).to_have_text("found")
        expect(page.locator("#snippet")).to_contain_text("/my-api/v1/chat/completions")
        page.get_by_role("link", name="API reference").click()
        expect(page.locator("article").first).to_be_visible()
        page.get_by_role("link", name="Try it").click()
        expect(page).to_have_url(address)
        expect(page.locator("#model")).to_contain_text("InternVL2-8B")
