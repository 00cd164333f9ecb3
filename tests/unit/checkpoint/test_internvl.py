"""The layout of InternVL's ``-hf`` checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InternVLForConditionalGeneration

from service.checkpoint.load import load
from service.engine.runner.pixels import normaliser_of, pixels
from service.prompt.inputs import DecodedTurn
from tests.support.checkpoints import TOKENS_PER_TILE, make_internvl

PICTURE = Image.new("RGB", (112, 56), "red")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_internvl(tmp_path_factory.mktemp("internvl"))


def test_weights_are_those_of_the_library(checkpoint: Path) -> None:
    """Every parameter equals the one that transformers itself reads from the same files."""
    loaded = load(str(checkpoint))
    expected = InternVLForConditionalGeneration.from_pretrained(checkpoint).state_dict()
    found = loaded.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not loaded.model.training


def test_settings_come_from_the_checkpoint(checkpoint: Path) -> None:
    """Stop ids, pad id, context length and tiles are the checkpoint's own."""
    loaded = load(str(checkpoint))
    assert loaded.architecture == "internvl"
    assert loaded.stop_ids == {loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert loaded.pad_id == loaded.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert loaded.context_length == 512
    built = loaded.inputs.build([DecodedTurn("user", (Image.new("RGB", (224, 56)), "What?"))])
    assert built.tiles_per_image == (5,)


def test_max_tiles_bounds_every_image(checkpoint: Path) -> None:
    """The bound given at loading replaces the checkpoint's own, and a request can only lower it."""
    loaded = load(str(checkpoint), max_tiles=2)
    wide = [DecodedTurn("user", (Image.new("RGB", (224, 56)), "What?"))]
    assert loaded.inputs.build(wide).tiles_per_image == (3,)
    assert loaded.inputs.tiling is not None
    assert loaded.inputs.tiling.spec.at_most(1).max_tiles == 1
    assert loaded.inputs.tiling.spec.at_most(12).max_tiles == 2


def test_the_model_answers_what_the_builder_made(checkpoint: Path) -> None:
    """Built inputs hold an image token for every image feature, and the model generates from them."""
    loaded = load(str(checkpoint))
    built = loaded.inputs.build([DecodedTurn("user", (PICTURE, "What is in this picture?"))])
    assert [tiles.dtype for tiles in built.tiles] == [np.uint8]
    assert built.input_ids.count(loaded.model.config.image_token_id) == built.image_tiles * TOKENS_PER_TILE
    answer = loaded.model.generate(
        input_ids=torch.tensor([built.input_ids]),
        attention_mask=torch.ones(1, len(built.input_ids), dtype=torch.long),
        pixel_values=pixels(built.tiles, normaliser_of(loaded), loaded.device),
        max_new_tokens=5,
        do_sample=False,
        eos_token_id=-1,
    )
    assert answer.shape[1] == len(built.input_ids) + 5
