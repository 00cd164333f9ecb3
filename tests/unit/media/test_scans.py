"""JPEG files with endless scans."""

import pytest

from service.media.decode import MAX_SCANS, has_too_many_scans
from tests.support.images import many_scans, photo, saved

JPEG = saved(photo(), "JPEG")
PROGRESSIVE = saved(photo(), "JPEG", progressive=True)
APART = b"\xff\xda\0\2" * (MAX_SCANS + 1)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, many_scans(60)], ids=["baseline", "progressive", "many"])
def test_ordinary_files_pass(data: bytes) -> None:
    """Baseline and progressive files pass, even with dozens of scans."""
    assert not has_too_many_scans(data)


def test_too_many_scans_are_found() -> None:
    """A file with more scans than the limit is refused, even if its end is missing."""
    assert has_too_many_scans(many_scans())
    assert has_too_many_scans(many_scans()[:-2])


def test_an_end_within_a_comment_hides_nothing() -> None:
    """An end marker inside a comment does not stop the count."""
    data = many_scans()
    assert has_too_many_scans(data[:2] + b"\xff\xfe\0\4\xff\xd9" + data[2:])


def test_what_follows_the_end_does_not_count() -> None:
    """A video that a camera appended may look like scans."""
    assert not has_too_many_scans(JPEG + APART)


def test_what_a_segment_holds_does_not_count() -> None:
    """Data of another kind before the image may look like scans."""
    segment = b"\xff\xe1" + (len(APART) + 2).to_bytes(2) + APART
    assert not has_too_many_scans(JPEG[:2] + segment + JPEG[2:])
