"""Checkpoints that must not be served, and the sentence that each is refused with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from service.checkpoint import load as load_module
from service.checkpoint.load import load
from service.device import dtype_on
from service.errors import CheckpointError, DeviceError
from tests.support.checkpoints import make_internvl, write_json
from tests.support.original_checkpoints import make_original
from tests.support.other_checkpoints import make_other

# A parameter by its name in the files and in the model.
STORED = "language_model.model.norm.weight"
NORM = "model.language_model.norm.weight"

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_internvl(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Change:
    """Change the tensors of a checkpoint."""

    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    return apply


def config(**changes: object) -> Change:
    """Change values of config.json."""

    def apply(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_json(folder / "config.json", found | changes)

    return apply


def without(*names: str) -> Change:
    """Take files away."""

    def apply(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return apply


def cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def index_names_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {NORM: "model-00001-of-00002.safetensors", "lm_head.weight": "model-00002-of-00002.safetensors"}
    write_json(folder / "model.safetensors.index.json", {"weight_map": shards})


def index_leads_outside(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {NORM: "../model.safetensors"}})


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def drop(state: dict[str, torch.Tensor]) -> None:
    del state[STORED]


def rename(state: dict[str, torch.Tensor]) -> None:
    state["language_model.model.gone.weight"] = state[STORED].clone()


def reshape(state: dict[str, torch.Tensor]) -> None:
    state[STORED] = torch.ones(48)


def twice(state: dict[str, torch.Tensor]) -> None:
    state[NORM] = torch.ones(32)


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def blind_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['role'] }}", encoding="utf-8")


def broken_json(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")


CASES: dict[str, tuple[Change, str]] = {
    "missing tensor": (tensors(drop), rf"no tensor for {NORM}, which would be left random; copy"),
    "unused tensor": (
        tensors(rename),
        r"tensor model\.language_model\.gone\.weight that the model has no place",
    ),
    "wrong shape": (tensors(reshape), rf"tensor {NORM} has shape \(48,\), but config.json asks for \(32,\)"),
    "one tensor twice": (tensors(twice), r"some tensors are there twice under two names"),
    "cut short": (cut_short, r"weight file model\.safetensors is damaged or cut short"),
    "garbage": (garbage, r"weight file model\.safetensors is damaged or cut short"),
    "missing shard": (
        index_names_a_missing_shard,
        r"no model-00002-of-00002\.safetensors, a weight file that .*index\.json names",
    ),
    "shard outside": (index_leads_outside, r"'\.\./model\.safetensors' outside the checkpoint"),
    "pickles": (pickled, r"weights are in pytorch_model\.bin, a pickle.*convert them"),
    "no weights": (without("model.safetensors"), r"neither model\.safetensors nor model\.safetensors\.index"),
    "no config": (without("config.json"), r"no config\.json, which says what the model is; copy"),
    "broken config": (broken_json, r"config\.json of the checkpoint cannot be read.*copy it again"),
    "no tokenizer": (without("tokenizer.json"), r"no tokenizer: none of tokenizer\.json, tokenizer\.model"),
    "broken tokenizer": (broken_tokenizer, r"tokenizer of the checkpoint is unreadable.*copy it again"),
    "no image settings": (
        without("preprocessor_config.json"),
        r"no preprocessor_config\.json, which says how",
    ),
    "no chat template": (no_template, r"no chat template; copy chat_template\.jinja"),
    "blind chat template": (blind_template, r"cannot place an image and a text in a user turn"),
    "other image token": (
        config(image_token_id=3),
        r"image_token_id 3, but the tokenizer reads '<IMG_CONTEXT>'",
    ),
    "other tile length": (config(image_seq_length=9), r"image_seq_length 9, but a tile of 56 pixels makes 4"),
    "nonsense value": (config(downsample_ratio="half"), r"config\.json does not describe a internvl model"),
    "quantized by AWQ": (
        config(quantization_config={"quant_method": "awq"}),
        r"quantized by 'awq', which needs the library gptqmodel, which is not installed; serve",
    ),
    "quantized by compressed-tensors": (
        config(quantization_config={"quant_method": "compressed-tensors"}),
        r"needs the library compressed-tensors, which is not installed; serve the unquantized",
    ),
    "quantized somehow": (
        config(quantization_config={"quant_method": "new"}),
        r"quantized by 'new', which is not supported; serve the unquantized",
    ),
    "unknown kind": (config(model_type="mystery"), r"model type 'mystery' is not known to transformers"),
    "remote code": (config(model_type="mystery", auto_map={}), r"and its remote code is never run"),
    "text alone": (config(model_type="qwen2"), r"model type 'qwen2' does not take images and text"),
}


@pytest.mark.parametrize("case", CASES)
def test_damaged_checkpoint_is_refused(checkpoint: Path, case: str) -> None:
    """Every damage is refused before it serves, by a sentence that names it and says what to do."""
    damage, sentence = CASES[case]
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=sentence):
        load(str(checkpoint))


def test_fused_attention_of_another_shape_is_refused(tmp_path: Path) -> None:
    """A tensor that cannot even be split is refused with its shape."""
    folder = make_original(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state["language_model.model.layers.0.attention.wqkv.weight"] = torch.ones(50, 32)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"shape \(50, 32\), but config.json asks for"):
        load(str(folder))


def test_moved_added_token_is_refused(tmp_path: Path) -> None:
    """Special tokens with other ids than the weights know are refused by name."""
    folder = make_original(tmp_path / "model")
    added = json.loads((folder / "added_tokens.json").read_text(encoding="utf-8"))
    write_json(folder / "added_tokens.json", added | {"<img>": 7})
    with pytest.raises(CheckpointError, match=r"token '<img>' has id 7 in added_tokens\.json"):
        load(str(folder))


def test_other_family_without_processor_is_refused(tmp_path: Path) -> None:
    """Another family without its processor's settings is refused."""
    folder = make_other(tmp_path / "model", "qwen2_5_vl")
    (folder / "processor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"processor.*preprocessor_config\.json"):
        load(str(folder))


def test_too_large_for_memory_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not fit are refused before they are read, with both numbers."""
    monkeypatch.setattr(load_module, "free_bytes", lambda _: 2**20)
    with pytest.raises(DeviceError, match=r"weights in bfloat16 need 64\.\d MiB, but 1\.0 MiB of the memory"):
        load(str(checkpoint), dtype="bfloat16")


def test_float16_is_not_for_the_cpu() -> None:
    """Float16 on the CPU is refused with what to choose in its place."""
    with pytest.raises(DeviceError, match="dtype float16 is not for the CPU; use float32, or bfloat16"):
        dtype_on("float16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("requested", "device", "expected"),
    [("auto", "cpu", torch.float32), ("bfloat16", "cpu", torch.bfloat16), ("float16", "cuda", torch.float16)],
)
def test_dtype_follows_request_and_device(requested: str, device: str, expected: torch.dtype) -> None:
    """The number format is the one that was asked for, and float32 on the CPU where none was."""
    assert dtype_on(requested, torch.device(device)) is expected  # type: ignore[arg-type]


def test_weights_take_the_dtype(checkpoint: Path) -> None:
    """Every weight is in the number format that was asked for."""
    loaded = load(str(checkpoint), dtype="bfloat16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert loaded.dtype is torch.bfloat16
