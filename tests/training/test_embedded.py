"""What the embedded checkpoint answers, through the library's own `generate`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.training.conftest import ROOT
from training.captioner import Captioner
from training.evaluate import Draw, Row, answers, confusions, sized
from training.prompts import PROMPTS
from training.shapes import random_image

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "images"
CAPTIONS: dict[str, str] = json.loads((EXAMPLES / "captions.json").read_text())

# Seeds that neither training nor evaluation used.
SEED = 700_000


@pytest.mark.parametrize("prompt", [*PROMPTS[:2], "Hello there, what might this be?"])
def test_example_images_are_captioned_right(captioner: Captioner, prompt: str) -> None:
    """Every example image gets its caption, whatever is asked."""
    images = [Image.open(EXAMPLES / name).convert("RGB") for name in CAPTIONS]
    assert captioner.caption(images, prompt) == list(CAPTIONS.values())


def test_the_readme_s_image_is_small_and_its_caption_the_promised_one() -> None:
    """shapes.png has less than 20 kB and shows a red circle left of a blue square."""
    assert CAPTIONS["shapes.png"] == "a red circle left of a blue square"
    assert (EXAMPLES / "shapes.png").stat().st_size < 20_000


@pytest.mark.parametrize(("draw", "least"), [(sized, 0.97), (random_image, 0.93)], ids=["plain", "any"])
def test_new_images_are_captioned_right(captioner: Captioner, draw: Draw, least: float) -> None:
    """At least 97 of 100 new plain images are captioned right, and 93 of 100 of all sizes."""
    pairs = list(answers(captioner, Row("new", draw), count=100, seed=SEED))
    right = sum(truth == given for truth, given in pairs)
    assert right >= least * len(pairs), confusions(pairs)


def test_the_library_alone_captions(embedded: Path) -> None:
    """AutoProcessor, the chat template and `generate` give the right caption, and stop by themselves."""
    processor = AutoProcessor.from_pretrained(embedded)
    model = AutoModelForImageTextToText.from_pretrained(embedded, dtype=torch.float32)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPTS[0]}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = processor(images=[Image.open(EXAMPLES / "shapes.png")], text=text, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
    assert processor.decode(ids, skip_special_tokens=True) == CAPTIONS["shapes.png"]
    assert ids[-1] == processor.tokenizer.eos_token_id
    assert len(ids) < 12
