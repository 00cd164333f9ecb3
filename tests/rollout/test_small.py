"""Durations, locks and histories."""

from datetime import UTC, datetime

import pytest

from k8s.commands.duration import seconds
from k8s.errors import UsageError
from k8s.rollout.history import FAILED, SERVING, Entry, last_good, read
from k8s.rollout.lock import expired, held

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400)])
def test_duration(text: str, value: float) -> None:
    """Durations are seconds, or numbers with units."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "m", "-5s", "1d", "0", "5 m"])
def test_duration_refused(text: str) -> None:
    """What is no duration is refused with an example of one."""
    with pytest.raises(UsageError, match="20m"):
        seconds(text)


@pytest.mark.parametrize(
    ("spec", "free"),
    [
        ({}, True),
        ({"holderIdentity": "", "renewTime": None}, True),
        (
            {"holderIdentity": "a", "leaseDurationSeconds": 30, "renewTime": "2026-11-21T11:59:45.000000Z"},
            False,
        ),
        (
            {"holderIdentity": "a", "leaseDurationSeconds": 30, "renewTime": "2026-11-21T11:59:25.000000Z"},
            True,
        ),
    ],
)
def test_lock_expires(spec: dict[str, object], *, free: bool) -> None:
    """A lock is free when nobody holds it or its holder has not renewed it in time."""
    assert expired(spec, NOW) is free


def test_lock_names_its_holder() -> None:
    """Whoever is refused learns who holds the lock and since when."""
    said = held(
        "capstan-x", {"holderIdentity": "ann@host (process 7)", "acquireTime": "2026-11-21T11:59:45Z"}
    )
    assert "ann@host (process 7)" in said
    assert "2026-11-21T11:59:45Z" in said


def test_history_survives_bad_entries() -> None:
    """An entry that cannot be read is left out of the history, and the others stay."""
    good = '{"revision": 2, "who": "a", "when": "t", "what": [], "outcome": "serves", "images": []}'
    assert list(read({"1": "{", "2": good, "3": '{"revision": 3}'})) == [2]


def test_last_good() -> None:
    """The revision to go back to is the newest that served."""
    entries = {n: Entry(n, "a", "t", outcome=o) for n, o in [(1, SERVING), (2, SERVING), (3, FAILED)]}
    assert last_good(entries, 3) == 2
    assert last_good(entries, 1) is None
