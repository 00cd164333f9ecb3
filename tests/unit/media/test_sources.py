"""Where image files come from."""

import base64
import os
from pathlib import Path

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


@pytest.mark.parametrize(
    "text", ["%%%", "aGVsbG8", "a", "data:text/plain;base64,aGVsbG8=", "data:image/png,aGVs", "data:", "aé"]
)
def test_other_texts_are_refused(text: str) -> None:
    """What is not base64 of an image gets a refusal that names the field."""
    with pytest.raises(RequestError) as caught:
        decode_base64(text, LIMITS)
    assert (caught.value.code, caught.value.field) == (ErrorCode.INVALID_REQUEST, "image")


@pytest.mark.parametrize("size", [1001, 5000])
def test_too_many_bytes_are_refused(size: int) -> None:
    """More bytes than the limit are refused."""
    with pytest.raises(RequestError, match="the limit is 1000") as caught:
        decode_base64(base64.b64encode(b"x" * size).decode(), LIMITS)
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


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~root/a.png", "a/" * 3000])
def test_odd_paths_do_no_harm(root: Path, path: str) -> None:
    """A NUL, an endless name or a tilde gets a refusal like any other."""
    assert code_of(path, root) in (ErrorCode.IMAGE_NOT_FOUND, ErrorCode.IMAGE_PATH_FORBIDDEN)


def test_a_large_file_is_not_read(root: Path) -> None:
    """A file over the limit is refused by its size."""
    (root / "large.png").write_bytes(b"x" * 1001)
    with pytest.raises(RequestError, match="1001 bytes; the limit is 1000") as caught:
        read_path("large.png", [root], LIMITS)
    assert (caught.value.code, caught.value.field) == (ErrorCode.IMAGE_TOO_LARGE, "image_path")
