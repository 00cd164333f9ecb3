"""Checkpoints from a hub, which here is a server on this machine."""

import functools
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from service.checkpoint import source
from service.checkpoint.source import LoggedBar, locate
from service.errors import CheckpointError
from tests.unit.checkpoint.hub import COMMIT, serve


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.model", "merges.txt", "chat_template.jinja"):
        (folder / name).write_text(name * 1000)
    for name in ("pytorch_model.bin", "modeling.py", "README.md"):
        (folder / name).write_text("not wanted")
    return folder


@pytest.fixture
def hub(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point downloads at the local hub and at a cache of their own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(repository) as address:
        use(monkeypatch, address, tmp_path / "cache")
        yield


def use(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    download = functools.partial(snapshot_download, endpoint=address, cache_dir=cache, token=False)
    monkeypatch.setattr(source, "snapshot_download", download)


@pytest.mark.usefixtures("hub")
def test_download_brings_what_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    """Weights, configuration, tokenizer and template come; pickles, code and pages do not."""
    caplog.set_level(logging.INFO, "capstan")
    folder = locate("org/model", None)
    assert sorted(path.name for path in folder.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.model",
    ]
    assert f"model 'org/model' is at commit {COMMIT}" in caplog.messages


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        ("org/absent", None, "model 'org/absent' is not on the hub, or is private; check the name"),
        ("org/gated", None, "model 'org/gated' is gated; accept its terms on the hub and set HF_TOKEN"),
        ("org/model", "gone", "'org/model' at revision 'gone' has no such revision; give a branch"),
        ("org/--bad", None, "model 'org/--bad' is not a valid hub id"),
    ],
)
def test_refusal_of_the_hub_is_explained(name: str, revision: str | None, sentence: str) -> None:
    """What the hub refuses is an error with its reason and what to do about it."""
    with pytest.raises(CheckpointError, match=sentence):
        locate(name, revision)


def test_hub_out_of_reach_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network and without a cache, the sentence says both."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use(monkeypatch, f"http://127.0.0.1:{port}", tmp_path / "cache")
    with pytest.raises(
        CheckpointError, match="not in the cache and the hub is out of reach; unset HF_HUB_OFF"
    ):
        locate("org/model", None)


def test_offline_mode_uses_the_cache_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, what was fetched before is found, and anything else is refused."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(repository) as address:
        use(monkeypatch, address, tmp_path / "cache")
        fetched = locate("org/model", None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("org/model", None) == fetched
    with pytest.raises(CheckpointError, match="not in the cache and the hub is out of reach"):
        locate("org/another", None)


def test_file_is_refused(tmp_path: Path) -> None:
    """A file in place of a directory is refused."""
    (tmp_path / "config.json").touch()
    with pytest.raises(CheckpointError, match="is a file; give the directory"):
        locate(str(tmp_path / "config.json"), None)


@pytest.mark.parametrize("name", ["InternVL2-8B", "/models/none", "./none", "a/b/c"])
def test_name_that_is_no_hub_id_is_taken_for_a_path(name: str) -> None:
    """A name that cannot be a hub id is reported as no directory, without a look at the network."""
    with pytest.raises(CheckpointError, match="is not a directory on this machine, nor a hub id"):
        locate(name, None)


def test_downloaded_bytes_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that reach the disk make lines in the log; the library's other bars make none."""
    monkeypatch.setattr("service.checkpoint.progress.STEP_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "capstan")
    with (
        LoggedBar(unit="B", desc="Downloading bytes", total=4096) as network,
        LoggedBar(unit="B", desc="Reconstructing", total=4096) as disk,
        LoggedBar(desc="Fetching 2 files", total=2) as files,
    ):
        network.update(1024)
        disk.update(1024)
        files.update(1)
    assert caplog.messages == ["downloaded 1.0 KiB of 4.0 KiB (25 %) in 0 s"]
