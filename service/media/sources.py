"""Where image files come from: base64 in a request, or a path on the server."""

import base64
import binascii
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits

DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)
WHITESPACE = str.maketrans("", "", " \t\r\n")


def decode_base64(text: str, limits: ImageLimits) -> bytes:
    """The bytes of plain base64 or of a `data:image/...;base64,` URL, whose type is not relied on.

    Raises RequestError for another kind of text, and for more bytes than the limit before decoding them.
    """
    if text[:5].lower() == "data:":
        head = DATA_URL.match(text)
        if head is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "image is a data URL of another kind; send data:image/png;base64,... or plain base64",
                field="image",
            )
        text = text[head.end() :]
    if len(text) * 3 // 4 > limits.max_bytes + 3:
        raise _too_large(f"at least {len(text) * 3 // 4 - 2}", limits)
    try:
        data = base64.b64decode(text.translate(WHITESPACE), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(ErrorCode.INVALID_REQUEST, "image is not valid base64", field="image") from None
    if len(data) > limits.max_bytes:
        raise _too_large(str(len(data)), limits)
    return data


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
        except (OSError, ValueError, RuntimeError):
            break
        if not target.is_relative_to(root):
            continue
        inside = True
        data = _read(target, root, limits)
        if data is not None:
            return data
    if inside:
        raise RequestError(
            ErrorCode.IMAGE_NOT_FOUND, "image_path leads to no readable file", field="image_path"
        )
    raise RequestError(
        ErrorCode.IMAGE_PATH_FORBIDDEN,
        "image_path leads outside the directories that are open to requests (CAPSTAN_IMAGE_ROOTS)",
        field="image_path",
    )


def _read(target: Path, root: Path, limits: ImageLimits) -> bytes | None:
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
            raise _too_large(str(found.st_size), limits, field="image_path")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limits.max_bytes)
    finally:
        os.close(descriptor)


def _opened_below(descriptor: int, root: Path) -> bool:
    try:
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:  # no /proc: the path was resolved and O_NOFOLLOW held its last part
        return True
    return real.is_relative_to(root)


def _too_large(size: str, limits: ImageLimits, *, field: str = "image") -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"image is {size} bytes; the limit is {limits.max_bytes} (CAPSTAN_MAX_IMAGE_BYTES); scale it down",
        field=field,
    )
