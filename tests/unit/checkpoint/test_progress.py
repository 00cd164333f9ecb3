"""What a load tells in the log."""

import logging
import re
from pathlib import Path

import pytest

from service.checkpoint.load import load
from service.checkpoint.progress import Transfer, size
from tests.support.checkpoints import make_internvl


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("capstan")]


def test_slow_transfer_tells_every_tenth(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A transfer of minutes logs a line per 10 %, with bytes, share and seconds."""
    caplog.set_level(logging.INFO, "capstan")
    transfer = Transfer("read", 100 * 2**20, clock=clock)
    for _ in range(100):
        clock.now += 0.2
        transfer.add(2**20)
    assert lines(caplog)[0] == "read 10.0 MiB of 100.0 MiB (10 %) in 2 s"
    assert len(lines(caplog)) == 10


def test_stalling_transfer_still_tells(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A transfer that crawls logs a line per 5 s."""
    caplog.set_level(logging.INFO, "capstan")
    transfer = Transfer("read", 2**40, clock=clock)
    for _ in range(20):
        clock.now += 1
        transfer.add(1)
    assert len(lines(caplog)) == 4


def test_fast_transfer_is_silent(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """What is done at once needs no progress."""
    caplog.set_level(logging.INFO, "capstan")
    transfer = Transfer("read", 10, clock=clock)
    for _ in range(10):
        transfer.add(1)
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("count", "words"), [(12, "12 B"), (2048, "2.0 KiB"), (15.1 * 2**30, "15.1 GiB"), (2**50, "1024.0 TiB")]
)
def test_bytes_in_words(count: float, words: str) -> None:
    """Bytes read as people say them."""
    assert size(count) == words


def test_load_ends_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A load says at its end what is there, and no other library speaks."""
    caplog.set_level(logging.INFO)
    folder = make_internvl(tmp_path / "model")
    capfd.readouterr()
    caplog.clear()
    load(str(folder))
    said = f"loaded {folder}: 0.1 M parameters, 313.9 KiB float32 on cpu in "
    *progress, last = caplog.records
    assert re.fullmatch(rf"{re.escape(said)}\d+ s", last.getMessage())
    # On a busy machine a transfer may take so long that it tells of itself.
    assert all(re.match(r"read \S+ \S+ of 313.9 KiB", record.getMessage()) for record in progress)
    assert capfd.readouterr().err.replace(caplog.text, "") == ""
