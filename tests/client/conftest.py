"""A caption server, images and a job between them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.asking import Asking
from client.job import Job
from client.progress import Totals
from tests.client.fake_server import FakeServer, fake_server

Caption = Callable[..., Totals]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as found:
        yield found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A directory with three images, one of them deeper, and files that are none."""
    directory = tmp_path / "photos"
    (directory / "deep").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "deep/c.webp", "notes.md", ".hidden.png"):
        (directory / name).write_text(name.partition(".")[0])
    return directory


@pytest.fixture
def caption(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caption:
    """Run a job in a directory of its own; keywords replace the job's options."""
    monkeypatch.chdir(tmp_path)
    job = Job((), fake.url, None, None, None, 4, quiet=True)

    def run(*sources: str | Path, asking: Asking | None = None, **options: Any) -> Totals:
        return replace(job, sources=tuple(map(str, sources)), **options).run(asking or Asking())

    return run


def records(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a JSONL file by image; each image has one."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {row["image"]: row for row in rows}
    assert len(found) == len(rows)
    return found
