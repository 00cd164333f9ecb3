"""A maker of small random checkpoints in the original InternVL layout.

The names are written out the other way round than the service reads them, so the two check each other.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import InternVLForConditionalGeneration

from service.checkpoint.original import translate
from tests.support.checkpoints import GROUNDING, SPECIAL, make_tokenizer, write_json

VECTORS = Path(__file__).parent.parent / "data" / "internvl2"


def original_config(architecture: str, vocabulary: int, **changes: Any) -> dict[str, Any]:
    """A config.json of the original layout for a language model of some architecture."""
    config: dict[str, Any] = json.loads((VECTORS / "config.json").read_text(encoding="utf-8"))
    llm = config["llm_config"]
    llm |= {"architectures": [architecture], "model_type": architecture.removesuffix("ForCausalLM").lower()}
    llm |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": vocabulary}
    if architecture != "InternLM2ForCausalLM":
        llm |= {"rope_scaling": None, "auto_map": None, "pad_token_id": None}
        del llm["bias"], llm["auto_map"]
    for key, change in changes.items():
        config[key] = config[key] | change if isinstance(change, dict) else change
    return config


def make_original(directory: Path, architecture: str = "InternLM2ForCausalLM", **changes: Any) -> Path:
    """A checkpoint in the original layout: InternLM2's with its tokenizer.model, others with Qwen's files."""
    directory.mkdir(parents=True, exist_ok=True)
    if architecture == "InternLM2ForCausalLM":
        for file in (VECTORS / "tokenizer").iterdir():
            shutil.copyfile(file, directory / file.name)
        vocabulary = 429
    else:
        vocabulary = write_qwen_vocabulary(directory)
    config = original_config(architecture, vocabulary, **changes)
    write_json(directory / "config.json", config)
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(translate(config, vocabulary - 1))
    for name, parameter in model.named_parameters():
        if "norm" in name or "lambda" in name or "bias" in name or "cls_token" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
        if "position_embeddings" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    fused = original_names(model, fused=architecture == "InternLM2ForCausalLM")
    save_file(fused, directory / "model.safetensors", {"format": "pt"})
    return directory


def write_qwen_vocabulary(directory: Path) -> int:
    """The tokenizer files of original checkpoints with Qwen2 inside, which lack tokenizer.json."""
    tokenizer = make_tokenizer(special=())
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = [*SPECIAL, *GROUNDING, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    added = {text: len(model["vocab"]) + index for index, text in enumerate(special)}
    write_json(directory / "vocab.json", model["vocab"])
    merges = "\n".join(["#version: 0.2", *(" ".join(merge) for merge in model["merges"])])
    (directory / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    write_json(directory / "added_tokens.json", added)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    decoder = {str(index): {"content": text} | flags for text, index in added.items()}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_json(directory / "tokenizer_config.json", settings | {"added_tokens_decoder": decoder})
    return len(model["vocab"]) + len(added)


def original_names(model: InternVLForConditionalGeneration, *, fused: bool) -> dict[str, torch.Tensor]:
    """The model's weights under the original names; `fused` fuses attention as InternLM2 does."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text = model.config.get_text_config()
    groups = text.num_attention_heads // text.num_key_value_heads
    found: dict[str, torch.Tensor] = {}
    for name in list(state):
        if ".q_proj." not in name or name not in state:
            continue
        parts = [state[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
        if "vision_tower" in name:
            found[_original(name).replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
        elif fused:
            query, key, value = (
                part.view(text.num_key_value_heads, -1, 8, *part.shape[1:]) for part in parts
            )
            assert query.shape[1] == groups
            whole = torch.cat([query, key, value], dim=1).reshape(-1, *parts[0].shape[1:])
            found[_original(name, fused=True).replace("self_attn.q_proj", "attention.wqkv")] = whole
        else:
            continue
        for letter in "qkv":
            del state[name.replace(".q_proj.", f".{letter}_proj.")]
    return found | {_original(name, fused=fused): tensor for name, tensor in state.items()}


VISION_NAMES = {
    "model.vision_tower.": "vision_model.",
    "embeddings.cls_token": "embeddings.class_embedding",
    "embeddings.position_embeddings": "embeddings.position_embedding",
    "embeddings.patch_embeddings.projection": "embeddings.patch_embedding",
    "encoder.layer.": "encoder.layers.",
    "attention.projection_layer": "attn.proj",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "lambda_": "ls",
}
LANGUAGE_NAMES = {
    "model.multi_modal_projector.layer_norm": "mlp1.0",
    "model.multi_modal_projector.linear_1": "mlp1.1",
    "model.multi_modal_projector.linear_2": "mlp1.3",
    "model.language_model.": "language_model.model.",
    "lm_head": "language_model.lm_head",
}
INTERNLM2_NAMES = {
    "language_model.lm_head": "language_model.output",
    "embed_tokens": "tok_embeddings",
    "self_attn.o_proj": "attention.wo",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}


def _original(name: str, *, fused: bool = False) -> str:
    names = VISION_NAMES if "vision_tower" in name else LANGUAGE_NAMES | (INTERNLM2_NAMES if fused else {})
    for new, old in names.items():
        name = name.replace(new, old)
    return name
