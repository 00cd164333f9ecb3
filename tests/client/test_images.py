"""Which images are found where."""

import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest

from client.errors import UsageError
from client.images import find_images


@pytest.fixture(autouse=True)
def _here(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)


def names(source: str) -> list[str]:
    return sorted(image.name for image in find_images(source))


def test_a_directory_gives_its_images_at_any_depth() -> None:
    """Of a directory, files with the suffix of an image count, and hidden files do not."""
    assert names("photos") == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]


def test_a_file_is_taken_whatever_its_name() -> None:
    """A file that is named is an image."""
    assert names("photos/notes.md") == ["photos/notes.md"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*", ["photos/a.png", "photos/b.JPG", "photos/notes.md"]),
        ("photos/**/*.webp", ["photos/deep/c.webp"]),
        ("p*/[ab].*", ["photos/a.png", "photos/b.JPG"]),
    ],
)
def test_a_glob_gives_what_it_matches(pattern: str, found: list[str]) -> None:
    """A glob gives every file that it matches; ** is any number of directories."""
    assert names(pattern) == found


def test_a_file_whose_name_is_a_pattern_is_a_file(images: Path) -> None:
    """A file that exists is not taken for a glob."""
    (images / "a[1].png").write_text("odd")
    assert names("photos/a[1].png") == ["photos/a[1].png"]


@pytest.mark.parametrize("source", ["absent.png", "absent/*.png", "nonsense://bucket/a.png"])
def test_what_does_not_exist_is_refused(source: str) -> None:
    """A source that does not exist ends the command before it begins."""
    with pytest.raises(UsageError, match=r"absent|nonsense"):
        find_images(source)


def test_a_link_to_a_directory_is_not_followed(images: Path) -> None:
    """A link that leads in a circle does not make the listing endless."""
    (images / "deep" / "up").symlink_to(images)
    assert names("photos") == ["photos/a.png", "photos/b.JPG", "photos/deep/c.webp"]


def test_a_directory_is_read_as_it_is_captioned(images: Path) -> None:
    """The first image comes before the rest of the directory is read."""
    found = find_images("photos")
    next(found)
    later = images / "deep" / "later.png"
    later.write_text("later")
    assert "photos/deep/later.png" in {image.name for image in found}


def test_a_bucket_gives_its_images() -> None:
    """A prefix, a glob and an object of a bucket are found by fsspec, and read."""
    bucket = fsspec.filesystem("memory")
    for name in ("a.png", "deep/b.png", "deep/c.txt"):
        bucket.pipe(f"/bucket/{name}", name.encode())
    assert names("memory://bucket") == ["memory://bucket/a.png", "memory://bucket/deep/b.png"]
    assert names("memory://bucket/deep/*") == ["memory://bucket/deep/b.png", "memory://bucket/deep/c.txt"]
    (image,) = find_images("memory://bucket/a.png")
    assert (image.name, image.read()) == ("memory://bucket/a.png", b"a.png")


def test_the_memory_of_a_listing_does_not_grow(images: Path) -> None:
    """Ten thousand images are listed in the memory of a few."""
    for number in range(10_000):
        (images / "deep" / f"{number}.png").touch()
    tracemalloc.start()
    count = sum(1 for _ in find_images("photos"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_003
    assert peak < 1_000_000, f"{peak} bytes for {count} images in {os.fspath(images)}"
