"""Each measurement runs, in small, and gives its table."""

import json
from pathlib import Path

import pytest

from bench import gpu
from bench.__main__ import main
from bench.figures import HEADER

pytestmark = pytest.mark.slow


def measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[str, list[str]]:
    """What stands before the table, and the loads of its rows."""
    monkeypatch.setattr("sys.argv", ["bench", "--seed", "1", *words])
    main()
    before, _, rows = capsys.readouterr().out.partition(HEADER)
    return before, [row.split("|")[1].strip() for row in rows.strip().splitlines()]


def test_the_engine_and_static_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The engine is measured whole and streamed, then static batches, and the figures are kept."""
    out = tmp_path / "figures.json"
    _, loads = measured(monkeypatch, capsys, "--count", "40", "--out", str(out), "engine")
    assert loads[:3] == ["engine, 1 in flight", "engine, 1 in flight, streamed", "generate, batches of 16"]
    figures = json.loads(out.read_text())["figures"]
    assert [one["load"] for one in figures] == loads
    assert all(one["errors"] == 0 and one["right"] > 0.9 for one in figures)


def test_pairs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs are reported as ratios with their median."""
    before, loads = measured(monkeypatch, capsys, "--count", "16", "pairs")
    assert before.startswith("engine over static batches: ")
    assert "; median " in before
    assert loads[:2] == ["generate, batches of 64", "engine, 64 in flight"]


def test_short_requests_with_a_long_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short requests are measured alone and with a long one, in turn."""
    _, loads = measured(monkeypatch, capsys, "--count", "32", "mixed")
    assert [load.partition(" (")[0] for load in loads] == [
        "16 short, alone",
        "16 short, with a long one",
    ] * 2


def test_a_gpu_s_measurement_in_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is to run on a GPU runs on the CPU with a small model."""
    monkeypatch.setattr("sys.argv", ["gpu", "--small", "--tokens", "8"])
    gpu.main()
    said = capsys.readouterr().out
    assert "| 1 tiles, 8 words, 16 in flight |" in said
    assert "| 0 |" in said, "a request failed"


@pytest.mark.service
def test_a_server_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    """A server that runs is measured through either API, alone and with a long request."""
    chat = f"{address}/v1/chat/completions"
    _, loads = measured(
        monkeypatch, capsys, "--count", "40", "http", f"{address}/caption", "--clients", "1", "4"
    )
    assert loads == ["HTTP, 1 client", "HTTP, 4 clients"]
    _, loads = measured(monkeypatch, capsys, "--count", "24", "http", chat, "--clients", "4", "--same")
    assert loads == ["HTTP, 4 clients, one image"]
    _, loads = measured(monkeypatch, capsys, "--count", "40", "mixed", chat)
    assert len(loads) == 4
