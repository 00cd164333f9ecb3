"""Text in a vocabulary of special tokens, for tokenizers of several kinds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from service.prompt.shape import Part, TextSlot
from service.prompt.skeleton import Skeleton
from service.prompt.vocabulary import Vocabulary

PIECES = ("<", "e", "n", "d", ">", "▁", "a", "b", "<e", "<en", "<end", "<end>", "ab", "▁a", "▁ab")
MERGES = [("<", "e"), ("<e", "n"), ("<en", "d"), ("<end", ">"), ("a", "b"), ("▁", "a"), ("▁", "ab")]


def make(kind: str, *, rstrip: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer whose very vocabulary spells its special token, as sentencepiece ones can."""
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    backend = Tokenizer(models.BPE(vocabulary, MERGES))
    if kind == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif kind == "first":
        backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    elif kind == "always":
        backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=False)
    else:
        backend.normalizer = normalizers.Replace(" ", "▁")
    backend.add_special_tokens([AddedToken("<end>", normalized=False, rstrip=rstrip)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=AddedToken("<end>", rstrip=rstrip))


KINDS = ("plain", "prepend", "first", "always")
ORDINARY = st.text(alphabet="ab <e", max_size=12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(first=ORDINARY, second=ORDINARY, rstrip=st.booleans())
def test_filled_skeletons_equal_the_plain_encoding(kind: str, first: str, second: str, rstrip: bool) -> None:
    """Whatever a tokenizer does with blanks, a filled prompt has the ids of the whole string."""
    tokenizer = make(kind, rstrip=rstrip)
    parts: list[Part] = ["a ", TextSlot(0), "<end>", " b", TextSlot(1), "<end>a"]
    found = Skeleton(parts, Vocabulary(tokenizer)).fill((first, second), [])
    assert found == tokenizer(f"a {first}<end> b{second}<end>a")["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_spelling_that_is_a_piece_of_the_vocabulary_is_read_in_halves(kind: str) -> None:
    """Where merges alone lead to a special token's id, the text is read without it and nothing is lost."""
    tokenizer = make(kind)
    end = tokenizer.eos_token_id
    ids = Vocabulary(tokenizer).encode("ab<end>a<end><end>")
    assert end not in ids
    assert "".join(tokenizer.convert_ids_to_tokens(ids)).replace("▁", "") == "ab<end>a<end><end>"


def test_control_tokens_that_are_not_special_are_kept_from_users() -> None:
    """A token that the tokenizer does not call special, but the prompt needs, cannot be written by users."""
    tokenizer: Any = make("plain")
    tokenizer.add_tokens([AddedToken("ba", special=False)])
    index = tokenizer.convert_tokens_to_ids("ba")
    assert index in Vocabulary(tokenizer).encode("ba")
    assert index not in Vocabulary(tokenizer, control=("ba",)).encode("aba ba")
