"""Where image files come from."""

import base64
import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.sources import decode_base64, read_path

LIMITS = ImageLimits(max_bytes=1000)


@given(
    st.binary(max_size=1000), st.sampled_from(["", "data:image/png;base64,", "data:IMAGE/x-y;a=b;base64,"])
)
def test_base64_comes_back(data: bytes, head: str) -> None:
    """Any bytes come back from base64, plain or as a data URL."""
    assert decode_base64(head + base64.b64encode(data).decode(), LIMITS) == data


def test_line_breaks_are_no_matter() -> None:
    """Base64 in lines, as tools write it, is understood."""
    assert decode_base64("aGVs\nbG8=\r\n", LIMITS) == b"hello"


def test_the_alphabet_for_addresses_is_understood() -> None:
    """Base64 as it is written in URLs is understood."""
    assert decode_base64("-_-_", LIMITS) == decode_base64("+/+/", LIMITS) == b"\xfb\xff\xbf"


def test_line_breaks_do_not_count_as_bytes() -> None:
    """A file at the limit is taken, however many lines its base64 has."""
    text = "\n".join(base64.b64encode(b"x" * 1000).decode())
    assert len(decode_base64(text, LIMITS)) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "%%%",
        "aGVsbG8",
        "a",
        "data:text/plain;base64,aGVsbG8=",
        "data:image/png,aGVs",
        "data:",
        "aé",
        "a===",
        "=aGVs",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """What is not base64 of an image gets a refusal that names the field."""
    with pytest.raises(RequestError) as caught:
        decode_base64(text, LIMITS)
    assert (caught.value.code, caught.value.field) == (ErrorCode.INVALID_REQUEST, "image")


@pytest.mark.parametrize("size", [1001, 1002, 1003, 5000])
def test_too_many_bytes_are_refused(size: int) -> None:
    """More bytes than the limit are refused undecoded, and the message gives the exact number."""
    text = base64.b64encode(b"x" * size).decode()
    with (
        mock.patch("base64.b64decode", side_effect=AssertionError),
        pytest.raises(RequestError, match=f"{size} bytes; the limit is 1000") as caught,
    ):
        decode_base64(text, LIMITS)
    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "open"
    inside.mkdir()
    (inside / "a.png").write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    return inside


def code_of(path: str, *roots: Path) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        read_path(path, roots, LIMITS)
    assert "secret" not in caught.value.message
    assert str(roots[0] if roots else "-----") not in caught.value.message
    return caught.value.code


def test_a_file_below_a_root_is_read(root: Path) -> None:
    """A file is found by its whole path and by its path below a root."""
    assert read_path(str(root / "a.png"), [root], LIMITS) == b"inside"
    assert read_path("a.png", [root], LIMITS) == b"inside"


def test_roots_are_tried_in_turn(root: Path, tmp_path: Path) -> None:
    """A path is looked for below every root."""
    first = tmp_path / "empty"
    first.mkdir()
    assert read_path("a.png", [first, root], LIMITS) == b"inside"


def test_without_roots_nothing_is_open(root: Path) -> None:
    """Without a root every path is forbidden."""
    assert code_of(str(root / "a.png")) is ErrorCode.IMAGE_PATH_FORBIDDEN


@pytest.mark.parametrize("path", ["../secret.png", "../nothing.png", "/etc/passwd", "sub/../../secret.png"])
def test_a_path_may_not_leave_the_root(root: Path, path: str) -> None:
    """A path that leads outside is forbidden, whether there is a file or not."""
    assert code_of(path, root) is ErrorCode.IMAGE_PATH_FORBIDDEN


def test_a_link_may_not_leave_the_root(root: Path) -> None:
    """A symbolic link out of the root is forbidden."""
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "folder").symlink_to(root.parent)
    assert code_of("link.png", root) is ErrorCode.IMAGE_PATH_FORBIDDEN
    assert code_of("folder/secret.png", root) is ErrorCode.IMAGE_PATH_FORBIDDEN


def test_a_link_within_the_root_is_followed(root: Path) -> None:
    """A symbolic link that stays inside is an ordinary file."""
    (root / "link.png").symlink_to("a.png")
    assert read_path("link.png", [root], LIMITS) == b"inside"


def test_a_root_may_itself_be_a_link(root: Path) -> None:
    """A root that is a link opens what it points to."""
    (root.parent / "alias").symlink_to(root)
    assert read_path("a.png", [root.parent / "alias"], LIMITS) == b"inside"


def test_what_is_no_file_is_not_found(root: Path) -> None:
    """A missing file, a directory and a pipe are not found, and none of them blocks."""
    os.mkfifo(root / "pipe")
    (root / "sub").mkdir()
    for path in ("nothing.png", "sub", "pipe", "."):
        assert code_of(path, root) is ErrorCode.IMAGE_NOT_FOUND


def test_a_link_that_appears_meanwhile_is_not_followed(root: Path) -> None:
    """A folder that becomes a link out of the root between check and opening opens nothing."""
    folder, outside = root / "sub", root.parent / "elsewhere"
    for place in (folder, outside):
        place.mkdir()
        (place / "a.png").write_bytes(place.name.encode())
    really_open = os.open

    def swap_and_open(path: Path, flags: int) -> int:
        folder.rename(root / "moved")
        folder.symlink_to(outside)
        return really_open(path, flags)

    with mock.patch("os.open", swap_and_open):
        assert code_of("sub/a.png", root) is ErrorCode.IMAGE_NOT_FOUND


def test_a_file_that_cannot_be_read_is_not_found(root: Path) -> None:
    """A disk that fails is the path's fault, not a crash, and the file is closed."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    with mock.patch("os.fdopen", side_effect=OSError(5, "Input/output error")):
        assert code_of("a.png", root) is ErrorCode.IMAGE_NOT_FOUND
    after = len(os.listdir("/proc/self/fd")) if before else 0  # noqa: PTH208
    assert before == after


def test_links_in_a_circle_do_no_harm(root: Path) -> None:
    """A link that leads to itself gets a refusal, and the other roots are looked through."""
    (root / "loop").symlink_to("loop")
    other = root.parent / "other"
    other.mkdir()
    (other / "loop").write_bytes(b"found")
    assert code_of("loop", root) in (ErrorCode.IMAGE_NOT_FOUND, ErrorCode.IMAGE_PATH_FORBIDDEN)
    assert read_path("loop", [root, other], LIMITS) == b"found"


def test_inside_and_outside_cannot_be_told_apart(root: Path) -> None:
    """Outside a root the refusal is the same for a file that exists and for one that does not."""
    messages = set()
    for path in ("../secret.png", "../nothing.png", "/etc/passwd", "/nowhere/at/all"):
        with pytest.raises(RequestError) as caught:
            read_path(path, [root], LIMITS)
        messages.add((caught.value.code, caught.value.message, caught.value.field))
    assert len(messages) == 1


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", "x" * 5000, "~root/a.png", "a/" * 3000])
def test_odd_paths_do_no_harm(root: Path, path: str) -> None:
    """A NUL, an endless name or a tilde gets a refusal like any other."""
    assert code_of(path, root) in (ErrorCode.IMAGE_NOT_FOUND, ErrorCode.IMAGE_PATH_FORBIDDEN)


def test_a_large_file_is_not_read(root: Path) -> None:
    """A file over the limit is refused by its size."""
    (root / "large.png").write_bytes(b"x" * 1001)
    with pytest.raises(RequestError, match="1001 bytes; the limit is 1000") as caught:
        read_path("large.png", [root], LIMITS)
    assert (caught.value.code, caught.value.field) == (ErrorCode.IMAGE_TOO_LARGE, "image_path")
