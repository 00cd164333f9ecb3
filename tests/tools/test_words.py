"""The word list: what it matches, and that it is well-formed."""

import pytest

from tools.words import LIST, find, read_entries

ENTRIES = read_entries("mend(s|ed)? => fix\nNews => Update\n")


@pytest.mark.parametrize("line", ["Mend it", "it mends", "not_mended", "mend."])
def test_words_are_found(line: str) -> None:
    """A word is found in both cases, at the end of a sentence and inside a name with underscores."""
    ((number, _, replacement),) = find(f"fine\n{line}\n", ENTRIES)
    assert (number, replacement) == (2, "fix")


@pytest.mark.parametrize("line", ["amend", "recommends", "mending", "the news"])
def test_other_words_are_left_alone(line: str) -> None:
    """A part of a longer word does not match, nor does another case of an entry with a capital letter."""
    assert not list(find(line, ENTRIES))


def test_a_word_needs_a_replacement() -> None:
    """An entry that does not say what to write instead is an error that quotes it."""
    with pytest.raises(ValueError, match="'anew' has no replacement"):
        read_entries("anew\n")


def test_the_list_is_sound() -> None:
    """Each line of the list is an entry, and no entry suggests a word that the list replaces."""
    entries = read_entries(LIST.read_text())
    for entry in entries:
        assert not list(find(entry.replacement, entries)), entry.replacement
