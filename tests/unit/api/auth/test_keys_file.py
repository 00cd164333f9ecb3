"""The keys file while a replica runs."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from service.api.auth.keys_file import KeysFile
from service.errors import StartupError
from tests.unit.api.auth.keys_files import ALICE, BOB, entry, write


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def known(keys: KeysFile, *secrets: str) -> list[bool]:
    """Which of the secrets are keys now."""

    async def ask() -> list[bool]:
        current = await keys.current()
        return [current.find(secret) is not None for secret in secrets]

    return asyncio.run(ask())


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A second after a change the new keys hold and the old ones do not."""
    clock, path = Clock(), write(tmp_path / "keys.yaml", entry("alice", ALICE))
    keys = KeysFile(path, clock=clock)
    write(path, entry("bob", BOB))
    assert known(keys, ALICE, BOB) == [True, False]
    clock.now += 1
    assert known(keys, ALICE, BOB) == [False, True]


def test_a_symbolic_link_that_is_swapped_is_followed(tmp_path: Path) -> None:
    """A Secret that Kubernetes replaces by swapping the link to its directory is read again."""
    for name, fields in (("first", entry("alice", ALICE)), ("second", entry("bob", BOB))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys.yaml", fields)
    data, path = tmp_path / "..data", tmp_path / "keys.yaml"
    data.symlink_to("first")
    path.symlink_to("..data/keys.yaml")
    clock = Clock()
    keys = KeysFile(path, clock=clock)
    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").rename(data)
    clock.now += 1
    assert known(keys, ALICE, BOB) == [False, True]


def test_a_file_that_becomes_invalid_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last valid keys stay, and the log says once what is wrong."""
    clock, path = Clock(), write(tmp_path / "keys.yaml", entry("alice", ALICE))
    keys = KeysFile(path, clock=clock)
    write(path, entry("alice", ALICE, requests_per_minute=-1))
    with caplog.at_level(logging.ERROR, "capstan"):
        for _ in range(3):
            clock.now += 1
            assert known(keys, ALICE) == [True]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("CAPSTAN_KEYS_FILE: entry 1 (alice): requests_per_minute: ")
    assert line.endswith("keeping the last valid keys")


def test_a_file_that_goes_away_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last keys stay while the file is missing, which is logged once; the next file is read."""
    clock, path = Clock(), write(tmp_path / "keys.yaml", entry("alice", ALICE))
    keys = KeysFile(path, clock=clock)
    path.unlink()
    with caplog.at_level(logging.ERROR, "capstan"):
        for _ in range(3):
            clock.now += 1
            assert known(keys, ALICE) == [True]
    assert len(caplog.records) == 1
    assert str(tmp_path) not in caplog.text
    write(path, entry("bob", BOB))
    clock.now += 1
    assert known(keys, ALICE, BOB) == [False, True]


def test_a_slow_volume_delays_one_request_only(tmp_path: Path) -> None:
    """While one request waits for a slow file, others are served with the keys that are known."""
    clock, path = Clock(), write(tmp_path / "keys.yaml", entry("alice", ALICE))
    keys = KeysFile(path, clock=clock)
    path.unlink()
    os.mkfifo(path)  # to read it waits for a writer
    clock.now += 1

    async def two_requests() -> None:
        first = asyncio.ensure_future(keys.current())
        await asyncio.sleep(0)
        assert (await keys.current()).find(ALICE) is not None
        assert not first.done()
        await asyncio.to_thread(write, path, entry("bob", BOB))
        assert (await first).find(BOB) is not None

    asyncio.run(two_requests())


def test_a_server_does_not_start_without_its_file(tmp_path: Path) -> None:
    """A keys file that is missing or invalid at the start fails it with a sentence that has no path."""
    with pytest.raises(StartupError, match="CAPSTAN_KEYS_FILE cannot be read: No such file") as caught:
        KeysFile(tmp_path / "keys.yaml")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(StartupError, match=r"entry 1 \(alice\): limit is not a field"):
        KeysFile(write(tmp_path / "keys.yaml", entry("alice", ALICE, limit=3)))
