"""`capstan usage` sums what the service writes into its ledger."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from k8s.cli import main
from service.errors import ErrorCode
from service.metrics.ledger import Ledger
from service.metrics.record import RequestRecord
from service.protocol.request import Completion, FinishReason, Timings, Usage

ANSWER = Completion("a red circle", FinishReason.STOP, Usage(60, 5, 9), Timings(0, 0, 0, 0, 0, 1.8, 9))


def record(key: str, model: str = "m", **changes: Any) -> RequestRecord:
    """An answered request about one image."""
    given: dict[str, Any] = {
        "request_id": "r", "method": "POST", "path": "/caption", "route": "/caption", "status": 200,
        "code": None, "refusal": None, "start": 0.0, "seconds": 1.0, "images": 1, "completions": (ANSWER,),
    }  # fmt: skip
    return RequestRecord(key=key, model=model, **(given | changes))


def ledger(directory: Path, process: str, *records: RequestRecord) -> Path:
    """A file that the service has written."""
    written = Ledger(directory, max_bytes=10**6, gpus=2, process=process)
    for one in records:
        written.record(one)
    written.close()
    return directory / f"usage-{process}-0000.jsonl"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The ledgers of two replicas."""
    failed = record("bob", images=0, completions=(), status=503, code=ErrorCode.OVERLOADED)
    return [
        ledger(tmp_path, "a", record("alice"), record("alice", "other"), failed),
        ledger(tmp_path, "b", record("alice"), record("")),
    ]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `capstan usage`."""
    monkeypatch.setattr("sys.argv", ["capstan", "usage", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """The CSV that was written, by its first column."""
    return {next(iter(row.values())): row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}


def test_keys_are_summed_over_replicas(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each key has a row over all files, with failures among its requests, and a price if one is given."""
    assert run(monkeypatch, *files, "--csv", "--gpu-hour", "2.5") == 0
    found = rows(capsys)
    assert found["alice"] == {
        "key": "alice", "requests": "3", "answered": "3", "images": "3", "image_tiles": "15",
        "prompt_tokens": "180", "completion_tokens": "27", "gpu_seconds": "10.8", "cost": "0.0075",
        "cost_per_1000_captions": "2.5",
    }  # fmt: skip
    assert (found["bob"]["requests"], found["bob"]["answered"], found["bob"]["cost"]) == ("1", "0", "0.0")
    assert found["bob"]["cost_per_1000_captions"] == ""
    assert found["-"]["requests"] == "1"


def test_models_can_be_the_rows(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row can be a model; without a price there is no cost."""
    assert run(monkeypatch, *files, "--csv", "--by", "model") == 0
    found = rows(capsys)
    assert {name: row["requests"] for name, row in found.items()} == {"m": "4", "other": "1"}
    assert "cost" not in found["m"]


def test_the_table_and_the_json_say_the_same(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has a heading for each column, and JSON its values."""
    assert run(monkeypatch, *files) == 0
    assert "PROMPT_TOKENS" in capsys.readouterr().out
    assert run(monkeypatch, *files, "--json") == 0
    found = json.loads(capsys.readouterr().out)["usage"]
    assert [row["key"] for row in found] == ["-", "alice", "bob"]


def test_a_line_that_is_being_written_is_left_out(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of a running replica can be read, even if its disk was full in the middle of a line."""
    with files[0].open("a") as file:
        file.write('{"time":"2026-')
    assert run(monkeypatch, *files, "--csv") == 0
    assert rows(capsys)["alice"]["requests"] == "3"


def test_a_file_that_is_no_ledger_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file and the line."""
    (tmp_path / "access.log").write_text('{"message":"hello"}\n')
    assert run(monkeypatch, tmp_path / "access.log") == 64
    assert "access.log, line 1 is no line of a usage ledger" in capsys.readouterr().err
