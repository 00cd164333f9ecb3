"""The tokenizer of the embedded model."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from service.generation_defaults import DEFAULT_PROMPT
from training import vocabulary
from training.batches import prompt_text
from training.shapes import COLORS, SHAPES

BUILT = vocabulary.build()


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    """Whatever UTF-8 text is encoded, decoding gives it back, with no unknown token."""
    assert BUILT.decode(BUILT.encode(text)) == text
    assert BUILT.unk_token is None


def test_the_vocabulary_is_small() -> None:
    """At most 512 tokens, the special ones among them."""
    assert len(BUILT) <= 512


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("color", COLORS)
def test_a_caption_has_one_token_a_word(color: str, shape: str) -> None:
    """Every word of a caption is one token."""
    for relation in ("left of", "above"):
        caption = f"a {color} {shape} {relation} a {color} {shape}"
        assert len(BUILT.encode(caption)) == len(caption.split())


def test_the_default_prompt_is_about_thirty_tokens() -> None:
    """The service's default prompt costs 25 to 32 tokens."""
    assert 25 <= len(BUILT.encode(DEFAULT_PROMPT)) <= 32


@pytest.mark.parametrize("token", vocabulary.SPECIAL)
def test_special_tokens_are_one_token(token: str) -> None:
    """InternVL's markers are single tokens that decoding leaves out on request."""
    assert len(BUILT.encode(token)) == 1
    assert BUILT.decode(BUILT.encode(token), skip_special_tokens=True) == ""


def test_the_chat_template_renders_what_training_showed(embedded: Path) -> None:
    """A chat with an image is rendered as in training, but for the tokens of the tiles."""
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(embedded)
    chat = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    ]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    expected = prompt_text("What is it?", 1).replace(
        "<img>" + "<IMG_CONTEXT>" * 4 + "</img>", "<IMG_CONTEXT>"
    )
    assert rendered == expected


def test_the_embedded_tokenizer_is_this_one(embedded: Path) -> None:
    """The committed tokenizer encodes as the one that is built here."""
    tokenizer = AutoTokenizer.from_pretrained(embedded)
    assert tokenizer.get_vocab() == BUILT.get_vocab()
