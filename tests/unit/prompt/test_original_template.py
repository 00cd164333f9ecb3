"""Prompt templates of the original checkpoints."""

import pytest

from service.errors import CheckpointError
from service.prompt.original_template import SENTENCE_2, SENTENCE_2_5, TEMPLATES, template_of
from service.prompt.shape import ImageSlot, TextSlot


def rendered(name: str, sentence: str | None = None) -> str:
    """A question about one image, with marks for the slots."""
    parts = template_of(name, sentence).render((("user", ("image", "text")),))
    marks = {ImageSlot: "{image}", TextSlot: "{text}"}
    return "".join(part if isinstance(part, str) else marks[type(part)] for part in parts)


@pytest.mark.parametrize("name", ["internlm2-chat", "Hermes-2"])
def test_chatml_of_internvl_2(name: str) -> None:
    """InternVL2's turns end without a line break."""
    assert rendered(name) == (
        f"<|im_start|>system\n{SENTENCE_2}<|im_end|><|im_start|>user\n{{image}}\n{{text}}<|im_end|>"
        "<|im_start|>assistant\n"
    )


def test_chatml_of_internvl_2_5() -> None:
    """InternVL2.5's turns end with a line break, and its system sentence is another."""
    assert rendered("internvl2_5") == (
        f"<|im_start|>system\n{SENTENCE_2_5}<|im_end|>\n<|im_start|>user\n{{image}}\n{{text}}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_phi3() -> None:
    """The 4B model has Phi-3's roles."""
    assert rendered("phi3-chat") == (
        f"<|system|>\n{SENTENCE_2}<|end|><|user|>\n{{image}}\n{{text}}<|end|><|assistant|>\n"
    )


def test_sentence_of_the_checkpoint_comes_first() -> None:
    """A system sentence in config.json takes the place of the template's."""
    assert rendered("internvl2_5", "Be kind.").startswith("<|im_start|>system\nBe kind.<|im_end|>")


def test_unknown_template_is_refused() -> None:
    """An unknown template is refused with the names of those that are known."""
    with pytest.raises(CheckpointError, match="'vicuna'.*" + ", ".join(TEMPLATES)):
        template_of("vicuna")
