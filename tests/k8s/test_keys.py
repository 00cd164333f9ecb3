"""`capstan keys new`, and that the service reads what it writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.cli import main
from k8s.commands import keys
from k8s.errors import RefusedError, UsageError
from service.api.auth.keys import ApiKey, parse_keys
from service.errors import StartupError

LIMITS = {"requests_per_minute": 600, "images_per_minute": 1200, "concurrent_requests": 16}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr("sys.argv", ["capstan", "keys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def found(path: Path, key: str) -> ApiKey | None:
    """The entry that the service finds for a key."""
    return parse_keys(path.read_bytes()).find(key)


@pytest.mark.parametrize("limits", [{}, {"images_per_minute": 5}, LIMITS])
@pytest.mark.parametrize("models", [(), ("embedded", "OpenGVLab/InternVL2-8B")])
def test_the_service_reads_what_is_written(
    limits: dict[str, Any], models: tuple[str, ...], tmp_path: Path
) -> None:
    """The service finds a new key by its text, with each limit and model that it was made with."""
    key, entry = keys.create_key("alice", models, **limits)
    keys.append_entry(tmp_path / "keys.yaml", entry)
    read = found(tmp_path / "keys.yaml", key)
    assert read is not None
    assert read.model_dump(exclude_none=True, exclude={"sha256", "models"}) == {"name": "alice", **limits}
    assert read.models == (models or None)


def test_the_printed_entry_is_one_of_a_file() -> None:
    """What is printed stands below `keys:` as it is."""
    key, entry = keys.create_key("alice", requests_per_minute=5)
    read = parse_keys(("keys:\n" + keys.entry_text(entry)).encode()).find(key)
    assert (read and read.requests_per_minute) == 5


@pytest.mark.parametrize("name", ["", "two words", "-a", "a" * 65, "a\n", "ключ", "a/b"])
def test_a_name_that_the_service_would_refuse_is_refused(name: str) -> None:
    """What cannot be a name for the service cannot be one here."""
    with pytest.raises(UsageError, match="cannot name a key"):
        keys.create_key(name)
    with pytest.raises(StartupError, match="name"):
        parse_keys(yaml.safe_dump({"keys": [{"name": name, "sha256": "0" * 64}]}).encode())


def test_two_keys_are_different() -> None:
    """Keys have 32 random bytes and a prefix that says what they are."""
    one, other = keys.create_key("alice")[0], keys.create_key("alice")[0]
    assert one != other
    assert one.startswith("ck-")
    assert len(one) == 46


@pytest.mark.parametrize(
    "content",
    [
        "# who\nkeys:\n  - name: bob # the builder\n    sha256: {hash}\n",
        "# who\nkeys:\n- name: bob # the builder\n  sha256: {hash}",
        "# who\nkeys:\n\n  -   name: bob # the builder\n      sha256: {hash}\n\n",
    ],
)
def test_a_file_keeps_its_comments(content: str, tmp_path: Path) -> None:
    """An entry is added behind the others, and what a person wrote stays as it is."""
    path, before = tmp_path / "keys.yaml", content.replace("{hash}", "a" * 64)
    path.write_text(before)
    key, entry = keys.create_key("alice")
    keys.append_entry(path, entry)
    assert path.read_text().startswith(before.rstrip())
    assert found(path, key) is not None
    assert [one.name for one in parse_keys(path.read_bytes()).entries] == ["bob", "alice"]


@pytest.mark.parametrize("content", ["keys: []", "keys:", "keys: [{name: bob, sha256: '{hash}'}]"])
def test_a_list_between_brackets_is_rewritten(content: str, tmp_path: Path) -> None:
    """A list that nothing can be appended to is rewritten, with all of its entries."""
    path = tmp_path / "keys.yaml"
    path.write_text(content.replace("{hash}", "a" * 64))
    key, entry = keys.create_key("alice")
    keys.append_entry(path, entry)
    assert found(path, key) is not None
    assert len(parse_keys(path.read_bytes()).entries) == 1 + content.count("bob")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("keys: {}\n", "`keys` must be a list"),
        ("limits: []\n", "its only field must be `keys`"),
        ("keys: [}\n", "its only field must be `keys`"),
        ("\udcff\udcfe", "is not a text file"),
        ("keys: [{name: alice}]", "already has a key alice"),
    ],
)
def test_another_file_is_left_alone(content: str, sentence: str, tmp_path: Path) -> None:
    """A file that is no keys file, or knows the name, is refused and stays as it is."""
    path = tmp_path / "keys.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RefusedError, match=sentence):
        keys.append_entry(path, keys.create_key("alice")[1])
    assert path.read_bytes() == content.encode(errors="surrogateescape")
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_for_its_owner(tmp_path: Path) -> None:
    """A file that is made can be read by its owner alone; one that is there keeps its mode and its link."""
    path, link = tmp_path / "keys.yaml", tmp_path / "link.yaml"
    keys.append_entry(path, keys.create_key("alice")[1])
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    link.symlink_to(path)
    keys.append_entry(link, keys.create_key("bob")[1])
    assert (path.stat().st_mode & 0o777, link.is_symlink()) == (0o640, True)
    assert len(parse_keys(path.read_bytes()).entries) == 2


def test_the_command_prints_the_key_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Standard output is the key alone where the entry goes to a file, so that a script can take it."""
    path = tmp_path / "keys.yaml"
    options = ["--images-per-minute", "7", "--model", "embedded", "--append", str(path)]
    assert run(monkeypatch, "new", "alice", *options) == 0
    (key,) = capsys.readouterr().out.splitlines()
    read = found(path, key)
    assert read is not None
    assert (read.images_per_minute, read.models) == (7, ("embedded",))
    assert key not in path.read_text()


def test_the_command_prints_the_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a file the entry follows the key."""
    assert run(monkeypatch, "new", "alice", "--concurrent-requests", "3") == 0
    key, entry = capsys.readouterr().out.split("\n", 1)
    read = parse_keys(f"keys:\n{entry}".encode()).find(key)
    assert (read and read.concurrent_requests) == 3


@pytest.mark.parametrize(
    ("arguments", "code"), [(("new", "two words"), 64), (("new", "a", "--images-per-minute", "0"), 64)]
)
def test_a_mistake_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    """A name or a limit that cannot be exits with 64."""
    assert run(monkeypatch, *arguments) == code
