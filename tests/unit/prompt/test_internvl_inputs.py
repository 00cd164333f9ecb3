"""Inputs of InternVL models."""

import re
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import GotOcr2ImageProcessorPil

from service.checkpoint.loaded import LoadedModel
from service.engine.runner.pixels import normaliser_of, pixels
from service.errors import RequestError
from service.prompt.inputs import DecodedTurn
from service.prompt.internvl_inputs import InternVLInputs
from service.prompt.original_template import SENTENCE_2, SENTENCE_2_5
from tests.support.checkpoints import TOKENS_PER_TILE

SQUARE = Image.new("RGB", (56, 56), "red")
WIDE = Image.new("RGB", (112, 56), "blue")

ROLE_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<s>",
    "</s>",
    "<|endoftext|>",
)
PIECES = (
    *ROLE_TOKENS,
    "<|im_",
    "end|>",
    "<IMG_",
    "CONTEXT>",
    "<",
    ">",
    "|",
    " ",
    "\n",
    "<ref>",
    "</ref>",
    "a",
    "你",
)

# Any text at all, and text of the pieces that could do harm.
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def image_markup(tiles: int) -> str:
    return "<img>" + "<IMG_CONTEXT>" * (TOKENS_PER_TILE * tiles) + "</img>\n"


def expected_prompt(model: LoadedModel, request: Any, question: str, tiles: int) -> str:
    """The whole prompt of one turn as a string, written out by hand for each kind of checkpoint."""
    user = f"<|im_start|>user\n{image_markup(tiles)}{question}<|im_end|>"
    if "original_qwen" in request.node.name:
        return f"<|im_start|>system\n{SENTENCE_2_5}<|im_end|>\n{user}\n<|im_start|>assistant\n"
    if "original" in request.node.name:
        return f"<|im_start|>system\n{SENTENCE_2}<|im_end|>{user}<|im_start|>assistant\n"
    return f"<|im_start|>system\nYou see shapes.<|im_end|>\n{user}\n<|im_start|>assistant\n"


def counts(model: LoadedModel, ids: list[int]) -> dict[str, int]:
    known = model.tokenizer.get_vocab()
    return {text: ids.count(known[text]) for text in ROLE_TOKENS if text in known}


QUESTIONS = (
    "What is in this picture?",
    "",
    " two  blanks ",
    "line\nbreak\n",
    "你好，世界",
    "<ref>a square</ref>",
    "🙂",
    "a < b > c",
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_equal_the_plain_encoding(model: LoadedModel, request: Any, question: str) -> None:
    """The ids are those of the whole rendered prompt, so that no merge is lost between segments."""
    built = model.inputs.build([DecodedTurn("user", (WIDE, question))])
    assert built.tiles_per_image == (3,)
    assert built.input_ids == model.tokenizer(expected_prompt(model, request, question, 3))["input_ids"]


@QUICK
@given(text=st.text(alphabet=st.characters(exclude_characters="<", codec="utf-8"), max_size=60))
def test_ordinary_text_is_encoded_as_ever(model: LoadedModel, request: Any, text: str) -> None:
    """Whatever text without a special token is sent, the ids are the plain encoding's."""
    built = model.inputs.build([DecodedTurn("user", (SQUARE, text))])
    assert built.input_ids == model.tokenizer(expected_prompt(model, request, text, 1))["input_ids"]


@pytest.mark.slow
@QUICK
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
def test_no_text_changes_images_or_turns(model: LoadedModel, texts: list[str]) -> None:
    """For any texts, image tokens number tiles times tokens a tile, and markup is the template's alone."""
    built = model.inputs.build(
        [DecodedTurn("user", (SQUARE, *texts, WIDE)), DecodedTurn("assistant", (texts[0],))]
    )
    plain = model.inputs.build([DecodedTurn("user", (SQUARE, "a", WIDE)), DecodedTurn("assistant", ("a",))])
    assert built.tiles_per_image == (1, 3)
    assert counts(model, built.input_ids)["<IMG_CONTEXT>"] == built.image_tiles * TOKENS_PER_TILE
    assert counts(model, built.input_ids) == counts(model, plain.input_ids)


def test_spelled_markup_stays_readable(model: LoadedModel) -> None:
    """A special token that a user spells reaches the model as the same text in ordinary tokens."""
    text = "say <|im_end|> and <IMG_CONTEXT>"
    built = model.inputs.build([DecodedTurn("user", (text,))])
    assert text in model.tokenizer.decode(built.input_ids)


def test_grounding_markup_of_users_counts(model: LoadedModel) -> None:
    """`<ref>` and `<box>` are markup that users write, and become tokens."""
    built = model.inputs.build([DecodedTurn("user", ("<ref>a square</ref>",))])
    known = model.tokenizer.get_vocab()
    assert built.input_ids.count(known["<ref>"]) == built.input_ids.count(known["</ref>"]) == 1


def test_images_stand_where_they_stood(original: LoadedModel) -> None:
    """Texts and images alternate in the prompt as in the turn, over several turns."""
    built = original.inputs.build(
        [
            DecodedTurn("user", ("one", SQUARE, "two", WIDE)),
            DecodedTurn("assistant", ("three",)),
            DecodedTurn("user", ("four",)),
        ]
    )
    expected = (
        f"<s><|im_start|>system\n{SENTENCE_2}<|im_end|><|im_start|>user\none{image_markup(1)}two"
        f"{image_markup(3)}<|im_end|><|im_start|>assistant\nthree<|im_end|><|im_start|>user\nfour<|im_end|>"
        "<|im_start|>assistant\n"
    )
    assert built.input_ids == original.tokenizer(expected, add_special_tokens=False)["input_ids"]


def test_system_turn_takes_the_default_sentences_place(model: LoadedModel) -> None:
    """A conversation that begins with a system turn has that one alone."""
    built = model.inputs.build([DecodedTurn("system", ("Be brief.",)), DecodedTurn("user", ("Hello",))])
    text = model.tokenizer.decode(built.input_ids)
    assert re.findall(r"<\|im_start\|>system\n(.*?)<\|im_end\|>", text) == ["Be brief."]


def test_no_turn_at_all_is_refused(model: LoadedModel) -> None:
    """A conversation without turns is the client's mistake."""
    with pytest.raises(RequestError, match="conversation has 0 turns"):
        model.inputs.build([])


def test_tiles_equal_the_librarys_processor(ported: LoadedModel) -> None:
    """Pixels equal those of transformers' own processor for this family."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 170, 3), dtype=np.uint8))
    built = ported.inputs.build([DecodedTurn("user", (image, "What?"))])
    processor = GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56}, crop_to_patches=True, max_patches=4
    )
    made = processor(image, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        pixels(built.tiles, normaliser_of(ported), ported.device), np.stack(made["pixel_values"]), atol=1e-6
    )


def test_text_alone_has_no_pixels(model: LoadedModel) -> None:
    """A conversation without images has no tiles."""
    built = model.inputs.build([DecodedTurn("user", ("Hello",))])
    assert built.tiles == ()
    assert built.tiles_per_image == ()


def test_threads_build_the_same(model: LoadedModel) -> None:
    """Builds in several threads at once give what they give alone."""
    texts = [f"number {index} <|im_end|>" * (index % 3) for index in range(60)]

    def build(text: str) -> list[int]:
        return model.inputs.build([DecodedTurn("user", (SQUARE, text))]).input_ids

    alone = [build(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(build, texts)) == alone


def test_building_is_quick(model: LoadedModel) -> None:
    """A short prompt is built in well under a millisecond once its shape is known."""
    turns = [DecodedTurn("user", ("What is in this picture? Please describe the image in detail.",))]
    durations = []
    for _ in range(50):
        start = perf_counter()
        model.inputs.build(turns)
        durations.append(perf_counter() - start)
    # The best of many, since others share the machine; the target is 0.3 ms.
    assert min(durations) < 1e-3


def test_builder_is_the_fast_one(model: LoadedModel) -> None:
    """Both layouts share one builder, which cuts tiles itself."""
    assert isinstance(model.inputs, InternVLInputs)
