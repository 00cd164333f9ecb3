"""The checkpoint that comes with the package."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import AutoProcessor, GotOcr2ImageProcessorPil

from service.checkpoint.load import load
from service.checkpoint.loaded import LoadedModel
from service.engine.runner.pixels import normaliser_of, pixels
from service.prompt.inputs import DecodedTurn
from service.settings import EMBEDDED_MODEL

QUESTION = "Describe the image."


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(str(EMBEDDED_MODEL))


def picture() -> Image.Image:
    """A red circle left of a blue square, on gray."""
    image = Image.new("RGB", (160, 112), (90, 90, 90))
    pen = ImageDraw.Draw(image)
    pen.ellipse((10, 26, 70, 86), fill=(220, 40, 40))
    pen.rectangle((92, 28, 148, 84), fill=(50, 80, 230))
    return image


def test_embedded_checkpoint_answers(loaded: LoadedModel) -> None:
    """The embedded checkpoint says what is drawn, and its answer ends by itself."""
    built = loaded.inputs.build([DecodedTurn("user", (picture(), QUESTION))])
    ids = torch.tensor([built.input_ids])
    answer = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels(built.tiles, normaliser_of(loaded), loaded.device),
        max_new_tokens=60,
        do_sample=False,
        eos_token_id=sorted(loaded.stop_ids),
        pad_token_id=loaded.pad_id,
    )[0, len(built.input_ids) :].tolist()
    assert answer[-1] in loaded.stop_ids
    assert loaded.tokenizer.decode(answer[:-1]) == "a red circle left of a blue square"


def test_inputs_equal_the_librarys_processor(loaded: LoadedModel) -> None:
    """Token ids and pixels are those of transformers' own processor, bit for bit."""
    processor = AutoProcessor.from_pretrained(EMBEDDED_MODEL)
    processor.image_processor = GotOcr2ImageProcessorPil.from_pretrained(EMBEDDED_MODEL)
    content = [{"type": "image", "image": picture()}, {"type": "text", "text": QUESTION}]
    expected = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    built = loaded.inputs.build([DecodedTurn("user", (picture(), QUESTION))])
    assert built.input_ids == expected["input_ids"][0].tolist()
    np.testing.assert_array_equal(
        pixels(built.tiles, normaliser_of(loaded), loaded.device).numpy(), expected["pixel_values"].numpy()
    )
