"""Where image files come from: base64 in a request, or a path on the server."""

import base64
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.size import too_many_bytes

DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)


def decode_base64(text: str, limits: ImageLimits) -> bytes:
    """The bytes of plain base64 or of a `data:image/...;base64,` URL, whose type is not relied on.

    Both alphabets of RFC 4648 are taken, with padding; whitespace does not matter. Raises RequestError for
    another kind of text, and for more bytes than the limit before decoding them.
    """
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        head = DATA_URL.match(text)
        if head is None:
            raise _invalid(
                "image is a data URL of another kind; send data:image/png;base64,... or plain base64"
            )
        text = text[head.end() :]
    size = len(text) * 3 // 4 - text[-2:].count("=")
    if size > limits.max_bytes:
        raise too_many_bytes(size, limits.max_bytes)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:  # binascii.Error is one
        raise _invalid("image is not valid base64; encode the whole file, with its padding") from None


def read_path(path: str, roots: Sequence[Path], limits: ImageLimits) -> bytes:
    """The bytes of a regular file below one of the roots; a relative path is looked for below each in turn.

    The file is opened first and its real place checked afterwards, so that no link can be changed in between.
    Raises RequestError: the same for a file outside that exists and for one that does not.
    """
    if not roots:
        raise RequestError(
            ErrorCode.IMAGE_PATH_FORBIDDEN,
            "image_path is not open on this server (CAPSTAN_IMAGE_ROOTS); send the image itself",
            field="image_path",
        )
    inside = False
    for root in (root.resolve() for root in roots):
        try:
            target = (root / path).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL, half a character, links in a circle
            continue
        if target.is_relative_to(root):
            inside = True
            data = _read(target, root, limits)
            if data is not None:
                return data
    if inside:
        raise RequestError(
            ErrorCode.IMAGE_NOT_FOUND,
            "image_path leads to no readable file; check the path, or send the image itself",
            field="image_path",
        )
    raise RequestError(
        ErrorCode.IMAGE_PATH_FORBIDDEN,
        "image_path leads outside the directories that are open to requests (CAPSTAN_IMAGE_ROOTS); "
        "send the image itself",
        field="image_path",
    )


def _read(target: Path, root: Path, limits: ImageLimits) -> bytes | None:
    """The bytes of a regular file, or None where there is none below the root that can be read."""
    try:
        # Not blocking: a pipe without a writer would hold the thread for ever.
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _opened_below(descriptor, root):
            return None
        if found.st_size > limits.max_bytes:
            raise too_many_bytes(found.st_size, limits.max_bytes, field="image_path")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limits.max_bytes)
    except OSError:  # a disk or a network that fails
        return None
    finally:
        os.close(descriptor)


def _opened_below(descriptor: int, root: Path) -> bool:
    try:
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:  # no /proc: the path was resolved and O_NOFOLLOW held its last part
        return True
    return real.is_relative_to(root)


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field="image")
