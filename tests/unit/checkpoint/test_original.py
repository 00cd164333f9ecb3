"""The original InternVL layout."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import InternVLForConditionalGeneration, PreTrainedModel

from service.checkpoint.files import WeightFiles
from service.checkpoint.load import load
from service.checkpoint.original import translate
from service.checkpoint.original_weights import OriginalInternVL
from service.checkpoint.tokenizer import load_tokenizer
from service.checkpoint.weights import load_weights
from service.engine.runner.pixels import normaliser_of, pixels
from service.errors import CheckpointError
from service.prompt.inputs import DecodedTurn
from tests.support.original_checkpoints import VECTORS, make_original, original_config, original_names

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    return load_file(VECTORS / "reference.safetensors")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    config = translate(json.loads((VECTORS / "config.json").read_text(encoding="utf-8")), 310)
    with WeightFiles(VECTORS) as files:
        return load_weights(
            OriginalInternVL,
            config,
            files,
            generation=None,
            dtype=torch.float32,
            device=CPU,
        )


def test_image_features_are_the_original_codes(model: Any, reference: dict[str, torch.Tensor]) -> None:
    """Tiles become the features that the published code computes."""
    with torch.no_grad():
        found = model.get_image_features(reference["px"]).pooler_output
    torch.testing.assert_close(found, reference["feats"], atol=1e-5, rtol=0)


def test_logits_are_the_original_codes(model: Any, reference: dict[str, torch.Tensor]) -> None:
    """A batch of prompts with images gives the logits that the published code computes."""
    with torch.no_grad():
        found = model(
            input_ids=reference["ids"], attention_mask=reference["mask"], pixel_values=reference["px"]
        ).logits
    torch.testing.assert_close(found, reference["lo"], atol=2e-5, rtol=0)


@pytest.mark.parametrize(("ids", "mask", "answer"), [("ids", "mask", "gen"), ("ids2", "m2", "gen2")])
def test_greedy_answers_are_the_original_codes(
    model: Any, reference: dict[str, torch.Tensor], ids: str, mask: str, answer: str
) -> None:
    """Greedy decoding continues as the published code does, with padding on the left too."""
    found = model.generate(
        input_ids=reference[ids],
        attention_mask=reference[mask],
        pixel_values=reference["px"],
        max_new_tokens=10,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=2,
    )
    assert found[:, reference[ids].shape[1] :].tolist() == reference[answer].tolist()


TEXTS = (
    "hello world",
    " hello",
    "  two  blanks  ",
    "\nhi\n\n",
    "\ttab",
    "你好，世界",
    "naïve café 🙂",
    "user\nWhat is it?",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_model_is_read_as_sentencepiece_reads_it(text: str) -> None:
    """Ordinary text gives the ids of the sentencepiece library, behind a begin token."""
    tokenizer = load_tokenizer(VECTORS / "tokenizer")
    pieces = sentencepiece.SentencePieceProcessor(str(VECTORS / "tokenizer" / "tokenizer.model"))
    assert tokenizer(text)["input_ids"] == [1, *pieces.encode(text)]


@pytest.mark.parametrize("only_added_tokens_file", [False, True])
def test_added_tokens_keep_their_ids(tmp_path: Path, only_added_tokens_file: bool) -> None:
    """Special tokens have the ids of added_tokens.json and part the text around them."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(VECTORS / "tokenizer", folder)
    if only_added_tokens_file:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        del settings["added_tokens_decoder"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    for token, index in json.loads((folder / "added_tokens.json").read_text(encoding="utf-8")).items():
        ids = tokenizer(f"hello{token} world", add_special_tokens=False)["input_ids"]
        assert ids == [*pieces.encode("hello"), index, *pieces.encode(" world")]


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("InternLM2ForCausalLM", {}),
        ("InternLM2ForCausalLM", {"llm_config": {"bias": True}}),
        ("Qwen2ForCausalLM", {"template": "Hermes-2"}),
        ("LlamaForCausalLM", {"template": "Hermes-2"}),
        (
            "Phi3ForCausalLM",
            {
                "template": "phi3-chat",
                "llm_config": {
                    "rope_scaling": {"type": "su", "long_factor": [2.0] * 4, "short_factor": [1.0] * 4},
                    "original_max_position_embeddings": 128,
                },
            },
        ),
        (
            "Qwen2ForCausalLM",
            {
                "template": "internvl2_5",
                "vision_config": {"norm_type": "rms_norm", "qk_normalization": True, "qkv_bias": False},
            },
        ),
        ("Qwen2ForCausalLM", {"template": "internvl2_5", "force_image_size": 112, "select_layer": -2}),
    ],
)
def test_every_tensor_finds_its_place(tmp_path: Path, architecture: str, changes: dict[str, Any]) -> None:
    """A checkpoint written under the original names loads whole, with the values that were written."""
    folder = make_original(tmp_path / "model", architecture, **changes)
    loaded = load(str(folder))
    torch.manual_seed(0)
    torch.testing.assert_close(
        loaded.model.lm_head.weight,
        load_file(folder / "model.safetensors")[
            "language_model.output.weight" if "InternLM2" in architecture else "language_model.lm_head.weight"
        ],
    )
    built = loaded.inputs.build([DecodedTurn("user", (Image.new("RGB", (112, 56), "red"), "What?"))])
    answer = loaded.model.generate(
        input_ids=torch.tensor([built.input_ids]),
        attention_mask=torch.ones(1, len(built.input_ids), dtype=torch.long),
        pixel_values=pixels(built.tiles, normaliser_of(loaded), loaded.device),
        max_new_tokens=5,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
    )
    assert answer.shape[1] == len(built.input_ids) + 5


def test_interleaved_attention_is_split_as_it_was_fused(tmp_path: Path) -> None:
    """Queries, keys and values come out of `wqkv` in the order in which the test fused them."""
    folder = make_original(tmp_path / "model", llm_config={"bias": True})
    config = original_config("InternLM2ForCausalLM", 429, llm_config={"bias": True})
    loaded = load(str(folder))
    again = InternVLForConditionalGeneration(translate(config, 428))
    again.load_state_dict(loaded.model.state_dict())
    written = load_file(folder / "model.safetensors")
    found = original_names(again, fused=True)
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], written[name]) for name in written)


def test_norm_of_queries_has_the_configured_epsilon(tmp_path: Path) -> None:
    """The norms of queries and keys use the epsilon of config.json, as the published code does."""
    vision = {"norm_type": "rms_norm", "qk_normalization": True, "layer_norm_eps": 0.01}
    loaded = load(str(make_original(tmp_path / "model", vision_config=vision)))
    norms = [
        module for name, module in loaded.model.model.vision_tower.named_modules() if name.endswith("q_norm")
    ]
    assert [norm.variance_epsilon for norm in norms] == [0.01, 0.01]


def test_selected_layer_is_the_one_before_the_last(tmp_path: Path) -> None:
    """`select_layer` -2 gives what a tower of one layer less gives."""
    folder = make_original(tmp_path / "model", select_layer=-2)
    model = load(str(folder)).model
    pixels = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        found = model.get_image_features(pixels).pooler_output
        del model.model.vision_tower.encoder.layer[-1]
        model.config.vision_feature_layer = -1
        expected = model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(found, expected)


def test_settings_of_an_original_checkpoint(tmp_path: Path) -> None:
    """Stop ids, pad id, context length and tiles follow config.json and the template."""
    loaded = load(str(make_original(tmp_path / "model", max_dynamic_patch=6)))
    assert loaded.architecture == "internvl"
    assert loaded.stop_ids == {2, 7, 8}
    assert loaded.pad_id == 2
    assert loaded.context_length == 256
    wide = [DecodedTurn("user", (Image.new("RGB", (560, 56)), "What?"))]
    assert loaded.inputs.build(wide).tiles_per_image == (7,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ps_version": "v1"}, "config.json has ps_version 'v1'"),
        ({"use_llm_lora": 16}, "config.json has use_llm_lora 16"),
        ({"template": "vicuna"}, "names the prompt template 'vicuna'"),
        (
            {"llm_config": {"architectures": ["MptForCausalLM"]}},
            "language model is a MptForCausalLM",
        ),
        ({"vision_config": None}, "config.json has no vision_config"),
    ],
)
def test_variants_that_are_not_computed_are_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    """A variant of the layout that this code does not compute is refused by the name of its key."""
    folder = make_original(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, change in changes.items():
        config[key] = config[key] | change if isinstance(change, dict) else change
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=sentence):
        load(str(folder))
