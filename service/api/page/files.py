"""The page's files, read once: their bytes, types and entity tags."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

STATIC = Path(__file__).parent / "static"

# Not from the system's own table, which on a bare machine may call a script text/plain.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """What a browser gets for a name."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """Stands for the content, quotes included as the header wants them."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def read_files() -> dict[str, File]:
    """Every file of the page by its name. Names outside do not exist, so no path can lead out."""
    return {
        path.name: File(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(STATIC.iterdir())
        if path.suffix in TYPES
    }
