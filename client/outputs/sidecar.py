"""A text file for each image, with the image's name and the suffix .txt, as training tools read them."""

import os
from pathlib import Path, PurePosixPath

from client.errors import ClientError, UsageError
from client.record import Record


class Sidecars:
    """Caption files next to their images, or below a directory.

    `a/b.png` gets `a/b.txt`, and `a/b.error.txt` where it failed, until a later run succeeds.
    """

    def __init__(self, directory: Path | None) -> None:
        """Raises UsageError if `directory` is a file."""
        if directory is not None and directory.exists() and not directory.is_dir():
            raise UsageError(f"--output {directory} is a file; with --format txt, name a directory")
        self._directory = directory

    def has(self, image: str) -> bool:
        """Whether there is a caption file."""
        return self._path(image, ".txt").exists()

    def append(self, record: Record) -> None:
        """Write the caption file, whole or not at all. Raises ClientError if another image has written it."""
        target, error = self._path(record.image, ".txt"), self._path(record.image, ".error.txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        if record.caption is None:
            error.write_text(f"{record.error_code}: {record.error}\n", encoding="utf-8")
            return
        part = target.with_name(f".{target.name}.part")
        part.write_text(record.caption + "\n", encoding="utf-8")
        try:
            os.link(part, target)
        except FileExistsError:
            raise ClientError(
                f"{target} has the caption of another image; rename {record.image}, or write .jsonl"
            ) from None
        finally:
            part.unlink()
        error.unlink(missing_ok=True)

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, image: str, suffix: str) -> Path:
        _, separator, rest = image.partition("://")
        path = PurePosixPath(rest if separator else image)
        if self._directory is None:
            if separator:
                raise UsageError(f"{image} is not on this machine; add --output DIRECTORY")
            return Path(path).with_suffix(suffix)
        # Below the directory, whatever the path: no part leads upwards.
        parts = [part for part in path.parts if part not in ("/", "..")]
        return self._directory.joinpath(*parts).with_suffix(suffix)
