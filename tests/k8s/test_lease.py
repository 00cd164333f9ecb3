"""The lease that keeps two rollouts apart."""

from datetime import UTC, datetime

import pytest

from k8s.rollout.lease import expired, held_message

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


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
    """A lock is free when it has no holder, or its holder has not renewed it in time."""
    assert expired(spec, NOW) is free


def test_lock_names_its_holder() -> None:
    """A refusal says who holds the lock and since when."""
    said = held_message(
        "capstan-x", {"holderIdentity": "ann@host (process 7)", "acquireTime": "2026-11-21T11:59:45Z"}
    )
    assert "ann@host (process 7)" in said
    assert "2026-11-21T11:59:45Z" in said
