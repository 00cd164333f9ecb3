"""What a run asks of the server, and what it keeps."""

from pathlib import Path

import pytest

from client.asking import Asking
from client.captioner import retry_after
from client.errors import ClientError, UnreachableError
from tests.client.conftest import Caption, records
from tests.client.fake_server import FakeServer
from tests.support.server import free_port


def test_each_image_gets_a_record(caption: Caption, fake: FakeServer, images: Path, tmp_path: Path) -> None:
    """Every image has the server's caption, its model and its tokens, under its own name."""
    totals = caption("photos", output=tmp_path / "out.jsonl")
    found = records(tmp_path / "out.jsonl")
    assert (totals.captioned, totals.failed) == (3, 0)
    assert found["photos/a.png"] == {
        "image": "photos/a.png",
        "caption": "of a",
        "finish_reason": "stop",
        "model": "fake",
        "prompt_tokens": 60,
        "image_tiles": 1,
        "completion_tokens": 9,
    }
    assert sorted(found) == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]


def test_the_prompt_reaches_the_server(caption: Caption, fake: FakeServer, images: Path) -> None:
    """The fields of a request are sent with each image."""
    caption("photos/a.png", asking=Asking({"prompt": "What is it?", "max_tokens": "5"}))
    assert fake.fields == [{"prompt": "What is it?", "max_tokens": "5"}]


def test_a_failure_is_recorded_and_the_run_goes_on(caption: Caption, images: Path, tmp_path: Path) -> None:
    """An image that the server refuses has the error in its record; the others have their captions."""
    (images / "a.png").write_text("bad")
    totals = caption("photos", output=tmp_path / "out.jsonl")
    found = records(tmp_path / "out.jsonl")
    assert (totals.captioned, totals.failed) == (2, 1)
    assert found["photos/a.png"]["error_code"] == "invalid_image"
    assert found["photos/a.png"]["error"] == "image is damaged"


def test_an_unreadable_file_is_recorded(
    caption: Caption, fake: FakeServer, images: Path, tmp_path: Path
) -> None:
    """A file that cannot be read is never sent."""
    (images / "a.png").unlink()
    (images / "a.png").symlink_to("/proc/self/mem")
    caption("photos/a.png", output=tmp_path / "out.jsonl")
    assert records(tmp_path / "out.jsonl")["photos/a.png"]["error_code"] == "unreadable_image"
    assert fake.images == []


def test_no_more_requests_are_in_progress_than_asked(
    images: Path, caption: Caption, fake: FakeServer
) -> None:
    """`concurrency` bounds the requests at the server, and is reached."""
    fake.seconds = 0.05
    for number in range(12):
        (images / f"{number}.png").write_text(str(number))
    caption("photos", concurrency=3)
    assert fake.most == 3


@pytest.mark.parametrize("code", ["overloaded", "rate_limited"])
def test_a_busy_server_is_asked_again_when_it_says(
    code: str, caption: Caption, fake: FakeServer, images: Path
) -> None:
    """A 503 or 429 is retried after the seconds of Retry-After, however often it comes."""
    fake.refusals = [(503 if code == "overloaded" else 429, code, {"retry-after": "0"})] * 6
    assert caption("photos/a.png").captioned == 1
    assert fake.refusals == []


def test_a_retry_that_comes_too_late_is_not_made(
    caption: Caption, fake: FakeServer, images: Path, tmp_path: Path
) -> None:
    """A Retry-After beyond the time for retries ends with the server's own error at once."""
    fake.refusals = [(429, "rate_limited", {"retry-after": "3600"})]
    totals = caption("photos/a.png", output=tmp_path / "out.jsonl", asking=Asking(retry=5.0))
    assert totals.failed == 1
    assert records(tmp_path / "out.jsonl")["photos/a.png"]["error_code"] == "rate_limited"


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), (None, None), ("soon", None)])
def test_retry_after_has_seconds(value: str | None, seconds: float | None) -> None:
    """A Retry-After of seconds is read; nonsense is as if there were none."""
    assert retry_after(value) == seconds


def test_retry_after_has_a_date() -> None:
    """A date in the past is no wait, one in the future is one."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert (retry_after("Wed, 21 Oct 2095 07:28:00 GMT") or 0.0) > 1e9


def test_an_image_that_breaks_the_server_is_given_up(
    caption: Caption, fake: FakeServer, images: Path, tmp_path: Path
) -> None:
    """Three answers with status 500 are an error of the image, not a reason to try for minutes."""
    fake.refusals = [(500, "internal_error", {"retry-after": "0"})] * 3
    caption("photos/a.png", output=tmp_path / "out.jsonl")
    assert records(tmp_path / "out.jsonl")["photos/a.png"]["error_code"] == "internal_error"
    assert fake.images == []


def test_a_wrong_key_ends_the_run_before_an_image_is_sent(
    caption: Caption, fake: FakeServer, images: Path
) -> None:
    """A key that the server refuses is reported once, not for each image."""
    fake.key = "right"
    with pytest.raises(ClientError, match="refuses the key: key is unknown; set CAPSTAN_API_KEY"):
        caption("photos", key="wrong")
    assert fake.images == []


def test_a_key_that_is_revoked_ends_the_run(caption: Caption, fake: FakeServer, images: Path) -> None:
    """A key that stops working in the middle ends the run, which keeps no error for each image."""
    fake.refusals = [(401, "invalid_api_key", {})] * 4
    with pytest.raises(ClientError, match="refuses the key"):
        caption("photos")


def test_a_server_that_is_not_there_is_reported(caption: Caption, images: Path) -> None:
    """An address where nothing listens ends the command with the code for it."""
    with pytest.raises(UnreachableError, match="does not answer"):
        caption("photos", server=f"http://127.0.0.1:{free_port()}")


def test_a_directory_without_images_is_an_error(caption: Caption, tmp_path: Path) -> None:
    """A run that found nothing does not look like one that worked."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClientError, match="no image in empty"):
        caption("empty")
