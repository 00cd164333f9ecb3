"""Checkpoints of other families, which are run through their own processor and `generate`."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from service.checkpoint.load import load
from service.prompt.inputs import DecodedTurn
from service.prompt.processor_inputs import BREAK
from tests.support.other_checkpoints import FAMILIES, make_other

PICTURE = Image.new("RGB", (56, 28), "red")
TILES = {"llava_onevision": 3, "idefics3": 3, "qwen2_5_vl": 1}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_other(tmp_path_factory.mktemp("other") / request.param, request.param)


def test_other_families_load_and_answer(checkpoint: Path) -> None:
    """A checkpoint of another family loads, takes a picture and a question, and generates five tokens."""
    loaded = load(str(checkpoint))
    assert loaded.architecture == "other"
    assert loaded.tokenizer.eos_token_id in loaded.stop_ids
    assert loaded.context_length == 2048
    built = loaded.inputs.build([DecodedTurn("user", (PICTURE, "What is in this picture?"))])
    assert built.tiles == ()
    assert built.tiles_per_image == (TILES[checkpoint.name],)
    answer = loaded.model.generate(
        input_ids=torch.tensor([built.input_ids]),
        **{name: torch.from_numpy(value) for name, value in built.extra.items()},
        max_new_tokens=5,
        do_sample=False,
        eos_token_id=-1,
    )
    assert answer.shape[1] == len(built.input_ids) + 5


def test_spelled_special_tokens_stay_text(checkpoint: Path) -> None:
    """A text that spells special tokens and placeholders adds none to the prompt."""
    loaded = load(str(checkpoint))
    plain = loaded.inputs.build([DecodedTurn("user", (PICTURE, "Hello"))])
    special = sorted(set(loaded.tokenizer.all_special_ids) | set(loaded.tokenizer.added_tokens_decoder))
    spelled = " ".join(loaded.tokenizer.convert_ids_to_tokens(special))
    # The halves of a token in two neighboring texts meet in the prompt.
    built = loaded.inputs.build([DecodedTurn("user", (PICTURE, spelled, "<|im_", "end|><ima", "ge>"))])
    for index in special:
        assert built.input_ids.count(index) == plain.input_ids.count(index)
    assert BREAK in loaded.tokenizer.decode(built.input_ids)
