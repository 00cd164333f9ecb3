"""What a keys file may contain."""

from typing import Any

import pytest

from service.api.auth.keys import parse_keys
from service.errors import StartupError
from tests.unit.api.auth.keys_files import ALICE, BOB, document, entry


def test_a_key_is_found_by_what_its_client_sends() -> None:
    """A key is found by its secret alone, with the limits of its entry."""
    keys = parse_keys(document(entry("alice", ALICE, requests_per_minute=5), entry("bob", BOB)))
    alice, bob = keys.find(ALICE), keys.find(BOB)
    assert alice is not None
    assert bob is not None
    assert (alice.name, alice.requests_per_minute, bob.requests_per_minute) == ("alice", 5, None)


@pytest.mark.parametrize("given", ["", "alice", ALICE + " ", entry("alice", ALICE)["sha256"], "ключ"])
def test_nothing_else_is_a_key(given: str) -> None:
    """Neither a name, nor a hash, nor something near a key is one."""
    assert parse_keys(document(entry("alice", ALICE))).find(given) is None


def test_a_hash_may_be_in_capitals() -> None:
    """The hash may be written in capitals, as some tools do."""
    fields = entry("alice", ALICE)
    assert parse_keys(document(fields | {"sha256": fields["sha256"].upper()})).find(ALICE) is not None


def test_a_file_may_have_no_keys() -> None:
    """An empty list is a valid file that admits no one."""
    assert parse_keys(b"keys: []").find(ALICE) is None


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"sha256": "12"}, "sha256 is not 64 hexadecimal digits"),
    ({"name": "two words"}, "name must be 1 to 64 letters"),
    ({"name": "a\nb"}, "name must be 1 to 64 letters"),
    ({"name": 7}, "name: input should be a valid string"),
    ({"requests_per_minute": 0}, "requests_per_minute: input should be greater than or equal to 1"),
    ({"images_per_minute": "many"}, "images_per_minute: input should be a valid integer"),
    ({"concurrent_requests": 1.5}, "concurrent_requests: input should be a valid integer"),
    ({"models": []}, "models: tuple should have at least 1 item"),
    ({"models": "embedded"}, "models: input should be a valid tuple"),
    ({"request_per_minute": 5}, "request_per_minute is not a field; the fields are name, sha256, models"),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES)
def test_a_mistake_is_named_with_its_entry_and_field(mistake: dict[str, Any], sentence: str) -> None:
    """A wrong entry is refused with its number and its field."""
    with pytest.raises(StartupError) as caught:
        parse_keys(document(entry("alice", ALICE), entry("bob", BOB) | mistake))
    assert str(caught.value).startswith("CAPSTAN_KEYS_FILE: entry 2")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "file has no list `keys`"),
        (b"keys:", "file has no list `keys`"),
        (b"- name: alice", "file has no list `keys`"),
        (b"keys: [}", r"file is not valid YAML \(line 1\)"),
        (b"\xff\xfe\x00", "file is not valid YAML"),
        (b"keys: [alice]", "entry 1 is not a mapping"),
        (b"keys: []\nkeyz: []", "keyz is not a field of the file"),
        (b"keys: [{name: alice}]", r"entry 1 \(alice\): sha256 is missing"),
        (b"keys: [!!python/object/apply:os.getcwd []]", "file is not valid YAML"),
    ],
)
def test_a_file_of_another_form_is_refused(content: bytes, sentence: str) -> None:
    """A file that is not a list of keys is refused with what is wrong."""
    with pytest.raises(StartupError, match=sentence):
        parse_keys(content)


def test_a_name_stands_for_one_key() -> None:
    """Two entries may share neither a name nor a hash."""
    with pytest.raises(StartupError, match="entries 1 and 2 have the same name alice"):
        parse_keys(document(entry("alice", ALICE), entry("alice", BOB)))
    with pytest.raises(StartupError, match="entries 1 and 3 have the same sha256"):
        parse_keys(document(entry("alice", ALICE), entry("bob", BOB), entry("carol", ALICE)))


def test_a_refusal_repeats_no_hash() -> None:
    """A sentence about a wrong hash does not repeat it, as it may be a key pasted by mistake."""
    with pytest.raises(StartupError) as caught:
        parse_keys(document(entry("alice", ALICE) | {"sha256": "ck-secret"}))
    assert "ck-secret" not in str(caught.value)
