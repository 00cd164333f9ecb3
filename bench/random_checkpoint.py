"""A checkpoint of random weights in any shape, which speaks with the embedded model's tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, LlamaConfig

from service.settings import EMBEDDED_MODEL

SHARDS = 2
IMAGE_TOKEN = "<IMG_CONTEXT>"  # noqa: S105 - no password
RATIO = 0.5
SPREAD = 0.02  # of the weights, so that activations stay finite


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The shape of an InternVL model whose tiles are `side` pixels wide, at most `tiles` of an image."""

    vision: dict[str, Any]
    text: dict[str, Any]
    side: int
    tiles: int


# Source: the published config.json of OpenGVLab/InternVL2-8B.
INTERNVL2_8B = ModelShape(
    vision={"attention_bias": True},
    text={
        "vocab_size": 92_553,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    side=448,
    tiles=12,
)
SMALL = ModelShape(
    vision={
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "attention_bias": True,
    },
    text={
        "vocab_size": 600,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
    },
    side=56,
    tiles=4,
)


def write(directory: Path, shape: ModelShape, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write all files of a checkpoint into a directory."""
    for name in ("tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        (directory / name).write_bytes((EMBEDDED_MODEL / name).read_bytes())
    image_token = _write_tokenizer(directory, shape.text["vocab_size"])
    processor = json.loads((EMBEDDED_MODEL / "processor_config.json").read_text())
    processor["image_processor"] |= {
        "size": {"height": shape.side, "width": shape.side},
        "max_patches": shape.tiles,
    }
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**shape.vision, image_size=[shape.side] * 2),
        text_config=LlamaConfig(**shape.text, eos_token_id=2, pad_token_id=0),
        image_token_id=image_token,
        downsample_ratio=RATIO,
        tie_word_embeddings=False,
    )
    patch = config.vision_config.patch_size[0]  # type: ignore[union-attr]
    config.image_seq_length = processor["image_seq_length"] = int((shape.side // patch * RATIO) ** 2)
    (directory / "processor_config.json").write_text(json.dumps(processor))
    config.save_pretrained(directory)
    _write_weights(directory, config, dtype)


def _write_tokenizer(directory: Path, size: int) -> int:
    """Write the embedded tokenizer with words that no text has up to `size`; return the image token."""
    tokenizer = json.loads((EMBEDDED_MODEL / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    used = {*vocabulary.values(), *added.values()}
    vocabulary |= {f"word{number}": number for number in range(size) if number not in used}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    return int(added[IMAGE_TOKEN])


def _write_weights(directory: Path, config: InternVLConfig, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        tensors = InternVLForConditionalGeneration(config).state_dict()
    names, index = sorted(tensors), dict[str, str]()
    for shard in range(SHARDS):
        own = names[shard * len(names) // SHARDS : (shard + 1) * len(names) // SHARDS]
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        save_file({name: _random(tensors[name].shape, dtype) for name in own}, directory / file)
        index |= dict.fromkeys(own, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _random(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """A matrix of small numbers; ones for vectors, most of which are norms."""
    return (
        torch.empty(shape, dtype=dtype).normal_(0, SPREAD)
        if len(shape) > 1
        else torch.ones(shape, dtype=dtype)
    )
