"""What is kept of an image: its caption, or why it has none."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """The result of one image: either `caption` or `error_code` is set.

    `image` is the image's path or URL as it was found. `error_code` is a code of docs/errors.md, or
    `unreadable_image` or `connection_lost`, which never reached a server.
    """

    image: str
    caption: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    image_tiles: int | None = None
    completion_tokens: int | None = None
    error_code: str | None = None
    error: str | None = None
    request_id: str | None = None

    def row(self) -> dict[str, Any]:
        """All columns, None where there is no value."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Record":
        """A record from columns. Raises TypeError or ValueError for what is no record."""
        found = cls(**row)
        if not isinstance(found.image, str) or (found.caption is None) == (found.error_code is None):
            raise ValueError("neither a caption nor an error of an image")
        return found


COLUMNS = tuple(field.name for field in fields(Record))
COUNTS = ("prompt_tokens", "image_tiles", "completion_tokens")
