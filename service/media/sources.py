"""Read image files from base64 in a request, or from a path on the server."""

import base64
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits, too_many_bytes

DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)


def decode_base64(text: str, limits: ImageLimits) -> bytes:
    """Decode plain base64 or a `data:image/...;base64,` URL, whose media type is ignored.

    Accepts both alphabets of RFC 4648, with padding; ignores whitespace. Raises RequestError for other text,
    and for more bytes than the limit before it decodes them.
    """
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        head = DATA_URL.match(text)
        if head is None:
            raise _invalid("image is an unsupported data URL; send data:image/png;base64,... or plain base64")
        text = text[head.end() :]
    size = len(text) * 3 // 4 - text[-2:].count("=")
    if size > limits.max_bytes:
        raise too_many_bytes(size, limits.max_bytes)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:  # binascii.Error is one
        raise _invalid("image is not valid base64; encode the complete file, with padding") from None


def read_path(path: str, roots: Sequence[Path], limits: ImageLimits) -> bytes:
    """Read a regular file below one of the roots; a relative path is tried below each root in turn.

    Opens the file first and then checks its real location, so no link can change in between. Raises
    RequestError; outside the roots, the error is the same whether a file exists or not.
    """
    if not roots:
        raise RequestError(
            ErrorCode.IMAGE_PATH_FORBIDDEN,
            "image_path is disabled on this server (CAPSTAN_IMAGE_ROOTS); send the image itself",
            field="image_path",
        )
    inside = False
    for root in (root.resolve() for root in roots):
        try:
            target = (root / path).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL, a lone surrogate, a symlink loop
            continue
        if target.is_relative_to(root):
            inside = True
            data = _read(target, root, limits)
            if data is not None:
                return data
    if inside:
        raise RequestError(
            ErrorCode.IMAGE_NOT_FOUND,
            "image_path is not a readable file; check the path, or send the image itself",
            field="image_path",
        )
    raise RequestError(
        ErrorCode.IMAGE_PATH_FORBIDDEN,
        "image_path is outside the allowed directories (CAPSTAN_IMAGE_ROOTS); send the image itself",
        field="image_path",
    )


def _read(target: Path, root: Path, limits: ImageLimits) -> bytes | None:
    """Read a regular file; None if there is no readable one below the root."""
    try:
        # Nonblocking: a pipe without a writer would block the thread forever.
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
    except OSError:  # a failing disk or network
        return None
    finally:
        os.close(descriptor)


def _opened_below(descriptor: int, root: Path) -> bool:
    try:
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:  # no /proc: the path is resolved and O_NOFOLLOW guards its last part
        return True
    return real.is_relative_to(root)


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field="image")
