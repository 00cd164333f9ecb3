"""The usage ledger: append-only lines, rotated by size, without anything private."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError
from service.metrics.ledger import Ledger
from service.settings import Settings
from tests.unit.metrics.test_registry import ANSWER, record


def lines(directory: Path) -> list[dict[str, Any]]:
    """All lines of all files, in order."""
    files = sorted(directory.glob("usage-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_request_is_one_line(tmp_path: Path) -> None:
    """A line says who asked, how it ended and what it took, and nothing else."""
    ledger = Ledger(tmp_path / "new", max_bytes=10**6, gpus=2, process="a")
    ledger.record(record(images=1, completions=(ANSWER,)))
    ledger.close()
    (line,) = lines(tmp_path / "new")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "request_id": "r1", "key": "alice", "model": "m", "route": "/caption", "code": "ok", "seconds": 4.2,
        "images": 1, "image_tiles": 5, "prompt_tokens": 60, "completion_tokens": 9, "gpu_seconds": 0.25,
    }  # fmt: skip


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    """No file exceeds its size, none is changed afterwards, and no line is lost."""
    ledger = Ledger(tmp_path, max_bytes=600, gpus=1, process="a")
    for number in range(10):
        ledger.record(record(request_id=f"r{number}"))
    ledger.close()
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) > 2
    assert all(file.stat().st_size <= 600 for file in files)
    assert [line["request_id"] for line in lines(tmp_path)] == [f"r{number}" for number in range(10)]


def test_other_users_cannot_read_it(tmp_path: Path) -> None:
    """Only the replica's own user may read the names of keys."""
    Ledger(tmp_path, max_bytes=600, gpus=1, process="a").close()
    (file,) = tmp_path.glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0


def test_only_routes_that_generate_are_in_it(tmp_path: Path) -> None:
    """Probes, pages and lists of models cost nothing."""
    ledger = Ledger(tmp_path, max_bytes=600, gpus=1, process="a")
    for route in ("/healthz", "other", "/v1/models"):
        ledger.record(record(route=route))
    ledger.close()
    assert lines(tmp_path) == []


def test_a_failing_disk_costs_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line that cannot be written is reported once, and the request goes on."""
    ledger = Ledger(tmp_path, max_bytes=600, gpus=1, process="a")
    ledger.close()
    for _ in range(3):
        ledger.record(record())
    assert caplog.text.count("usage is not recorded until the disk works again") == 1


def test_a_directory_that_cannot_be_written_fails_the_start(tmp_path: Path) -> None:
    """A replica that should keep a ledger and cannot does not start."""
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="CAPSTAN_USAGE_LEDGER"):
        Ledger.from_settings(Settings(usage_ledger=tmp_path / "file"))
