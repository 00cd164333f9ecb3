"""Text from tokens while they come."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from service.checkpoint.tokenizer import load_tokenizer
from service.prompt.detokenizer import Detokenizer
from service.settings import EMBEDDED_MODEL

TOKENIZERS: dict[str, Any] = {
    "byte-level": AutoTokenizer.from_pretrained(EMBEDDED_MODEL),
    "sentencepiece": load_tokenizer(Path(__file__).parents[2] / "data/internvl2/tokenizer"),
}


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(ids).decode(errors="replace")


def pieces(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    """What would be given out after each token, and at the end."""
    found, given = list[str](), 0
    for token in ids:
        detokenizer.add([token])
        found.append(detokenizer.text[given : detokenizer.available])
        given = max(given, detokenizer.available)
    detokenizer.finish()
    return [*found, detokenizer.text[given:]]


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(max_size=40))
def test_the_pieces_together_are_the_text(kind: str, text: str) -> None:
    """Whatever the text, its pieces join to what decoding it at once gives."""
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces(Detokenizer(tokenizer), ids)) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(chance=st.randoms(use_true_random=False))
def test_special_tokens_within_an_answer_leave_no_trace(kind: str, chance: Random) -> None:
    """Tokens in any order, special ones among them, join to what decoding them at once gives."""
    tokenizer = TOKENIZERS[kind]
    special = tokenizer.all_special_ids
    ids = [
        chance.choice(special) if chance.random() < 0.3 else chance.randrange(len(tokenizer))
        for _ in range(8)
    ]
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    # Of bytes that are no text, what has been given out cannot be taken back.
    assume("\ufffd" not in whole)
    assert "".join(pieces(Detokenizer(tokenizer), ids)) == whole


@given(st.binary(max_size=30))
def test_broken_bytes_do_not_lose_what_follows(data: bytes) -> None:
    """Bytes that never become a character come out as such at the end, and nothing else is lost."""
    ids = list(data)
    assert "".join(pieces(Detokenizer(Bytes()), ids)) == data.decode(errors="replace")


def test_a_character_is_held_back_until_it_is_whole() -> None:
    """No piece holds a part of a character."""
    assert pieces(Detokenizer(Bytes()), list("né🙂".encode())) == ["n", "", "é", "", "", "", "🙂", ""]


def test_text_ends_before_a_stop_string() -> None:
    """The text ends where a stop string begins, and nothing of it is ever given out."""
    detokenizer = Detokenizer(Bytes(), stop=("END",))
    assert pieces(detokenizer, list(b"abENDcd")) == ["a", "b", "", "", "", "", "", ""]
    assert (detokenizer.text, detokenizer.stopped) == ("ab", True)


def test_the_beginning_of_a_stop_string_is_held_back_until_it_is_none() -> None:
    """What might become a stop string comes out once it has become another word."""
    assert pieces(Detokenizer(Bytes(), stop=("END",)), list(b"aENx")) == ["a", "", "", "ENx", ""]


def test_a_held_beginning_comes_out_at_the_end() -> None:
    """An answer that ends within a stop string keeps that part."""
    assert "".join(pieces(Detokenizer(Bytes(), stop=("END",)), list(b"aEN"))) == "aEN"


@pytest.mark.parametrize("stop", [("b", "ab"), ("ab", "b")])
def test_the_first_of_several_stop_strings_counts(stop: tuple[str, ...]) -> None:
    """Of several stop strings the one that begins first ends the text."""
    detokenizer = Detokenizer(Bytes(), stop=stop)
    detokenizer.add(list(b"xxab"))
    assert detokenizer.text == "xx"
