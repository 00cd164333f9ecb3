"""LoRA adapters that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from service.checkpoint.load import load
from service.errors import CheckpointError
from tests.support.adapters import factors, write_adapter
from tests.support.checkpoints import make_internvl


@pytest.fixture(scope="module")
def internvl_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_internvl(tmp_path_factory.mktemp("internvl") / "small")


Q_PROJ = "model.language_model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"peft_type": "IA3"}, "adapter_config.json has peft_type 'IA3'; only 'LORA'"),
        ({"use_dora": True}, "has use_dora True, which is not served; merge the adapter"),
        ({"target_parameters": ["mlp.experts"]}, r"has target_parameters \['mlp.experts'\]"),
        ({"init_lora_weights": "pissa_niter_4"}, "has init_lora_weights 'pissa_niter_4', which changes"),
        ({"r": 8}, rf"factors \(32, 4\) and \(4, 32\) of {Q_PROJ}, but adapter_config.json says rank 8"),
        ({"lora_alpha": None}, "does not say r and lora_alpha"),
    ],
)
def test_adapters_of_another_kind_are_refused(
    internvl_checkpoint: Path, tmp_path: Path, config: dict[str, Any], sentence: str
) -> None:
    """A variant of LoRA that is not computed is refused by the name of its key."""
    write_adapter(tmp_path, factors({Q_PROJ: (32, 32)}), **config)
    with pytest.raises(CheckpointError, match=sentence):
        load(str(internvl_checkpoint), adapter=tmp_path)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {"model.layers.0.self_attn.q_proj.lora_A.weight": (4, 32)},
            "only one of the two factors of model.layers.0.self_attn.q_proj",
        ),
        ({f"{Q_PROJ}.lora_magnitude_vector": (32,)}, r"lora_magnitude_vector'; of LoRA only"),
        (
            {"layers.0.self_attn.k_proj.weight": (16, 32)},
            r"changes layers.0.self_attn.k_proj.weight, .* it has \S+0.self_attn.k_proj.weight, for one",
        ),
        ({"lm_head.weight": (1, 32)}, r"of shape \(1, 32\), but lm_head.weight has \(\d+, 32\)"),
        ({}, "adapter has no tensors"),
    ],
)
def test_every_tensor_needs_a_place(
    internvl_checkpoint: Path, tmp_path: Path, tensors: dict[str, tuple[int, ...]], sentence: str
) -> None:
    """A tensor without a place is refused with the nearest name that has one."""
    write_adapter(tmp_path, {}, {name: torch.zeros(shape) for name, shape in tensors.items()})
    with pytest.raises(CheckpointError, match=sentence):
        load(str(internvl_checkpoint), adapter=tmp_path)


def test_files_of_an_adapter_are_checked(internvl_checkpoint: Path, tmp_path: Path) -> None:
    """A missing, pickled, damaged or foreign file of an adapter is refused before the weights are read."""

    def refused(sentence: str) -> None:
        with pytest.raises(CheckpointError, match=sentence):
            load(str(internvl_checkpoint), adapter=tmp_path)

    refused("checkpoint has no adapter_config.json, which says what kind of adapter")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}), encoding="utf-8")
    refused("adapter has no adapter_model.safetensors; save it in safetensors' format$")
    (tmp_path / "adapter_model.bin").touch()
    refused("save it in safetensors' format from adapter_model.bin, a pickle")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"damaged")
    refused("adapter_model.safetensors is damaged or cut short")
    save_file({"x.lora_A.weight": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    refused("adapter has a tensor 'x.lora_A.weight'; names of the PEFT library begin with")


def test_a_layer_that_shares_its_weights_is_refused(tmp_path: Path, tied_checkpoint: Path) -> None:
    """A change of tied embeddings is refused, as it would change the head too."""
    write_adapter(tmp_path, {}, {"lm_head.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"changes lm_head.weight, which is .*embed_tokens.weight"):
        load(str(tied_checkpoint), adapter=tmp_path)


@pytest.fixture
def tied_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose head is its embeddings."""
    return make_internvl(tmp_path_factory.mktemp("tied") / "small", tie_word_embeddings=True)
