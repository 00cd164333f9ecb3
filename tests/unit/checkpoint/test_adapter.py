"""LoRA adapters, merged into the weights as they load."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from service.checkpoint.load import load
from service.engine_options import EngineOptions
from tests.support.adapters import ALPHA, RANK, Factors, alongside, factors, write_adapter
from tests.support.checkpoints import make_internvl
from tests.support.original_checkpoints import make_original
from tests.support.other_checkpoints import make_other
from tests.support.running import answer, ask, by_generate, picture, running
from tests.unit.native.test_rank_group import SETUP, processes

REQUESTS = (ask("a red circle", max_tokens=9), ask(picture(1), "What is this?", max_tokens=12))


@pytest.fixture(scope="module")
def internvl_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_internvl(tmp_path_factory.mktemp("internvl") / "small")


def linear_factors(model: nn.Module) -> dict[str, Factors]:
    """Random factors for all linear layers but the head."""
    return factors(
        {
            name: tuple(module.weight.shape)
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and name != "lm_head"
        }
    )


def rewritten(checkpoint: Path, names: list[str], tmp_path: Path) -> tuple[Path, dict[str, Factors]]:
    """A copy of a checkpoint whose tensors `names` have an adapter's change in the file, and its factors."""
    copy = tmp_path / "changed"
    copy.mkdir()
    for file in checkpoint.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    tensors = load_file(checkpoint / "model.safetensors")
    found = factors({name: tuple(tensors[name + ".weight"].shape) for name in names})
    for name, (down, up) in found.items():
        weight = tensors[name + ".weight"]
        change = (up.flatten(1) @ down.flatten(1)) * (ALPHA / RANK)
        tensors[name + ".weight"] = weight + change.view(weight.shape)
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    return copy, found


ORIGINAL = {
    "InternLM2ForCausalLM": [
        "language_model.model.layers.0.attention.wqkv",
        "language_model.model.layers.1.attention.wo",
        *(f"language_model.model.layers.1.feed_forward.w{number}" for number in (1, 2, 3)),
        "language_model.output",
    ],
    "Qwen2ForCausalLM": [
        "language_model.model.layers.0.self_attn.q_proj",
        "language_model.model.layers.1.mlp.down_proj",
        "language_model.lm_head",
    ],
}
VISION = [
    "vision_model.embeddings.patch_embedding",
    "vision_model.encoder.layers.0.attn.qkv",
    "vision_model.encoder.layers.1.attn.proj",
    "vision_model.encoder.layers.1.mlp.fc1",
    "mlp1.1",
    "mlp1.3",
]


@pytest.mark.parametrize("architecture", ORIGINAL)
def test_an_adapter_of_the_original_code_changes_what_the_file_would(
    tmp_path: Path, architecture: str
) -> None:
    """Under the published names, fused attention and vision too, an adapter equals changed weight files."""
    template = {} if architecture.startswith("InternLM2") else {"template": "Hermes-2"}
    checkpoint = make_original(tmp_path / "model", architecture, **template)
    changed, found = rewritten(checkpoint, ORIGINAL[architecture] + VISION, tmp_path)
    adapter = write_adapter(tmp_path / "adapter", found)
    merged = load(str(checkpoint), adapter=adapter).model.state_dict()
    expected, plain = (load(str(path)).model.state_dict() for path in (changed, checkpoint))
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-6, msg=name)
    assert sum(not torch.equal(merged[name], plain[name]) for name in plain) >= len(found)


@pytest.mark.parametrize("runner", ["auto", "transformers"])
def test_runners_compute_internvl_with_its_adapter(
    internvl_checkpoint: Path, tmp_path: Path, runner: Any
) -> None:
    """InternVL with an adapter of every layer answers as with the adapter alongside the layers."""
    plain = load(str(internvl_checkpoint))
    found = linear_factors(plain.model)
    assert any("vision_tower" in name for name in found)
    with alongside(plain.model, found):
        expected = [by_generate(plain, request) for request in REQUESTS]
    merged = load(str(internvl_checkpoint), adapter=write_adapter(tmp_path, found))
    with running(merged, runner=runner) as engine:
        assert [completion.text for completion in answer(engine, *REQUESTS)] == expected
    assert expected != [by_generate(plain, request) for request in REQUESTS]


def test_another_family_has_an_adapter(tmp_path: Path) -> None:
    """Qwen2.5-VL with an adapter of every layer answers as with the adapter alongside the layers."""
    checkpoint = make_other(tmp_path / "model", "qwen2_5_vl")
    plain = load(str(checkpoint))
    found = linear_factors(plain.model)
    with alongside(plain.model, found):
        expected = [by_generate(plain, request) for request in REQUESTS]
    merged = load(str(checkpoint), adapter=write_adapter(tmp_path / "adapter", found))
    with running(merged) as engine:
        assert engine.describe().runner == "transformers"
        assert [completion.text for completion in answer(engine, *REQUESTS)] == expected
    assert expected != [by_generate(plain, request) for request in REQUESTS]


@pytest.mark.slow
def test_ranks_merge_their_part_of_an_adapter(tmp_path: Path) -> None:
    """Two ranks of an original checkpoint answer with its adapter as one process with changed files does."""
    checkpoint = make_original(tmp_path / "model")
    changed, found = rewritten(checkpoint, ORIGINAL["InternLM2ForCausalLM"] + VISION, tmp_path)
    adapter = write_adapter(tmp_path / "adapter", found)
    whole, plain = load(str(changed)), load(str(checkpoint))
    expected = [by_generate(whole, request) for request in REQUESTS]
    assert expected != [by_generate(plain, request) for request in REQUESTS]
    setup = replace(SETUP, size=2, directory=str(checkpoint), options=EngineOptions(), adapter=str(adapter))
    with processes(setup) as (engine, _):
        assert [completion.text for completion in answer(engine, *REQUESTS)] == expected


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 2}, 0.5),
        ({"use_rslora": True}, ALPHA / math.sqrt(RANK)),
        ({"alpha_pattern": {"q_proj": 1.0}}, 0.25),
        ({"alpha_pattern": {r"layers\.1\..*": 1.0}}, 2.0),
        ({"r": 16, "rank_pattern": {"layers.0.self_attn.q_proj": RANK}}, 2.0),
        ({"r": 16, "use_rslora": True, "rank_pattern": {".*q_proj": RANK}}, 4.0),
    ],
)
def test_the_scale_is_the_librarys(
    internvl_checkpoint: Path, tmp_path: Path, config: dict[str, Any], scale: float
) -> None:
    """Alpha by rank, or by its root with rsLoRA; patterns give modules their own."""
    module = "model.language_model.layers.0.self_attn.q_proj"
    plain = load(str(internvl_checkpoint)).model.state_dict()[module + ".weight"]
    found = factors({module: tuple(plain.shape)})
    merged = load(str(internvl_checkpoint), adapter=write_adapter(tmp_path, found, **config))
    down, up = found[module]
    expected = plain + scale * (up @ down)
    torch.testing.assert_close(merged.model.state_dict()[module + ".weight"], expected, atol=1e-6, rtol=1e-6)


def test_embeddings_and_saved_modules(internvl_checkpoint: Path, tmp_path: Path) -> None:
    """Embeddings take their transposed product; modules to save and biases take the place of the weights."""
    plain = load(str(internvl_checkpoint)).model.state_dict()
    embed, head = "model.language_model.embed_tokens", "lm_head.weight"
    bias = "model.language_model.layers.0.self_attn.q_proj.bias"
    vocabulary, hidden = plain[embed + ".weight"].shape
    (down, up), saved = factors({"x": (hidden, vocabulary)})["x"], torch.randn(plain[head].shape)
    more = {
        f"{embed}.lora_embedding_A": down,
        f"{embed}.lora_embedding_B": up,
        head: saved,
        "model.language_model.layers.0.self_attn.q_proj.base_layer.bias": torch.ones_like(plain[bias]),
        "model.multi_modal_projector.linear_1.modules_to_save.bias": torch.ones(32),
    }
    merged = load(str(internvl_checkpoint), adapter=write_adapter(tmp_path, {}, more)).model.state_dict()
    expected = plain[embed + ".weight"] + 2 * (up @ down).T
    torch.testing.assert_close(merged[embed + ".weight"], expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(merged[head], saved)
    assert merged[bias].tolist() == [1.0] * len(plain[bias])
    assert merged["model.multi_modal_projector.linear_1.bias"].tolist() == [1.0] * 32
