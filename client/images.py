"""Finds images in files, directories, globs, URLs and buckets, one after another, and reads them."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from client.errors import ClientError, UsageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})
# The largest request body that a server takes by default (CAPSTAN_MAX_REQUEST_BYTES).
MAX_BYTES = 64 * 2**20
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
MAGIC = re.compile(r"[*?\[]")
# pyarrow has these stores built in; every other scheme is fsspec's, with the package that fsspec asks for.
ARROW_SCHEMES = ("s3", "gs")


class UnreadableError(Exception):
    """One image cannot be read; the others may."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was found: its name in the results, and how to open it."""

    name: str
    open: Callable[[], Any]

    def read(self) -> bytes:
        """The bytes of the file. Blocks. Raises UnreadableError."""
        try:
            with self.open() as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except Exception as error:  # every store has exceptions of its own
            raise UnreadableError(f"{type(error).__name__}: {error}"[:300]) from error
        if len(data) > MAX_BYTES:
            raise UnreadableError(f"file is larger than {MAX_BYTES >> 20} MiB; scale the image down")
        return data


def find_images(source: str) -> Iterator[Image]:
    """The images of a file, directory, glob, URL or bucket, in no order.

    A local directory is read entry by entry and a bucket one prefix at a time, so that memory does not grow
    with the number of images. Of a directory, files with the suffix of an image count, and names that begin
    with a dot do not. Raises UsageError where there is nothing of that name or the scheme is not supported.
    """
    scheme = SCHEME.match(source)
    if scheme is None:
        return _local(source)
    if scheme[1] in ("http", "https"):
        filesystem, _ = _filesystem(source, scheme[1])
        return iter([Image(source, lambda: filesystem.open(source, "rb"))])
    return _remote(source, scheme[1])


def is_image(name: str) -> bool:
    """Whether a file of a directory counts as an image."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _local(source: str) -> Iterator[Image]:
    path = Path(source)
    if path.is_dir():
        return _walk(str(path))
    if path.exists() or not MAGIC.search(source):
        if not path.is_file():
            raise UsageError(f"{source} does not exist; name an image, a directory, a glob or a URL")
        return iter([Image(source, lambda: path.open("rb"))])
    return _local_glob(source)


def _local_glob(pattern: str) -> Iterator[Image]:
    matches = _matcher(pattern)
    base = _base(pattern)
    if base and not Path(base).is_dir():
        raise UsageError(f"{base} of {pattern} is not a directory; name one that exists")
    return (image for image in _walk(base, every=True) if matches(image.name))


def _walk(directory: str, *, every: bool = False) -> Iterator[Image]:
    """The files below a directory; with `every`, those too that have no suffix of an image."""
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here or ".") as entries:
                for entry in entries:
                    path = os.path.join(here, entry.name) if here else entry.name  # noqa: PTH118 - a string, for speed
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif (every or is_image(entry.name)) and entry.is_file():
                        yield Image(path, _opener(path))
        except OSError as error:
            raise ClientError(f"directory {here or '.'} cannot be read: {error.strerror}") from None


def _opener(path: str) -> Callable[[], Any]:
    return lambda: Path(path).open("rb")


def _filesystem(source: str, scheme: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    import fsspec  # noqa: PLC0415 - slow, and only remote images need it

    try:
        if scheme in ARROW_SCHEMES:
            from fsspec.implementations.arrow import ArrowFSWrapper  # noqa: PLC0415
            from pyarrow import fs  # noqa: PLC0415

            bucket, _, key = source.partition("://")[2].partition("/")
            options = bucket if "?" not in source else f"{bucket}?{source.partition('?')[2]}"
            found, root = fs.FileSystem.from_uri(f"{scheme}://{options}")
            return ArrowFSWrapper(found), f"{root}/{key.partition('?')[0]}".rstrip("/")
        filesystem, path = fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs another package: {error}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} cannot be opened: {error}") from None
    return filesystem, str(path)


def _remote(source: str, scheme: str) -> Iterator[Image]:
    filesystem, path = _filesystem(source, scheme)
    prefix = f"{scheme}://"

    def image(found: str) -> Image:
        return Image(prefix + found.removeprefix(prefix).lstrip("/"), lambda: filesystem.open(found, "rb"))

    try:
        if MAGIC.search(path):
            matches = _matcher(path)
            return (image(found) for found in _walk_remote(filesystem, _base(path)) if matches(found))
        if filesystem.isdir(path):
            return (image(found) for found in _walk_remote(filesystem, path) if is_image(found))
        if not filesystem.exists(path):
            raise UsageError(f"{source} does not exist; name an image, a prefix or a glob")
    except OSError as error:
        raise ClientError(f"{source} cannot be listed: {error}") from None
    return iter([image(path)])


def _walk_remote(filesystem: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - fsspec has no types
    for directory, _, files in filesystem.walk(path, on_error="raise"):
        for name in files:
            yield f"{directory.rstrip('/')}/{name}"


def _matcher(pattern: str) -> Callable[[str], object]:
    from fsspec.utils import glob_translate  # noqa: PLC0415 - as above

    return re.compile(glob_translate(pattern)).match


def _base(pattern: str) -> str:
    """The directory above the first part of a pattern that has a wildcard."""
    return pattern[: MAGIC.search(pattern).start()].rpartition("/")[0]  # type: ignore[union-attr]
