"""A maker of small random InternVL checkpoints of the ``-hf`` layout, for the tests of several houses.

It writes a directory and returns it. The weights are random but seeded, so outputs are repeatable.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import InternVLConfig, InternVLForConditionalGeneration, PreTrainedTokenizerFast

TILE = 56
TOKENS_PER_TILE = 4
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
GROUNDING = ("<ref>", "</ref>", "<box>", "</box>")

# The language model of every small checkpoint, whatever its family.
SMALL_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}

CORPUS = (
    "a red circle left of a blue square",
    "What is in this picture? Please describe the image in detail.",
    "system\nYou are a helpful assistant.",
    "user\nassistant\n",
    "你好，世界。图片里有什么？",
)

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou see shapes.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tokenizer(
    special: tuple[str, ...] = (*SPECIAL, *GROUNDING), **options: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred tokens, of the form that Qwen's has."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    backend.add_special_tokens(list(special))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"} | options
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)


def text_config(tokenizer: Any, model_type: str) -> dict[str, Any]:
    """The configuration of a small language model of a type."""
    return SMALL_TEXT | {
        "model_type": model_type,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def internvl_config(
    tokenizer: Any, text: str = "qwen2", text_changes: Mapping[str, Any] | None = None, **changes: Any
) -> InternVLConfig:
    """A configuration of about 60,000 parameters; `text` is the language model's type."""
    settings: dict[str, Any] = {
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": [TILE, TILE],
            "patch_size": [14, 14],
            "attention_bias": True,
        },
        "text_config": text_config(tokenizer, text) | dict(text_changes or {}),
        "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        "image_seq_length": TOKENS_PER_TILE,
        "tie_word_embeddings": False,
    }
    return InternVLConfig(**(settings | changes))


def make_internvl(directory: Path, text: str = "qwen2", **changes: Any) -> Path:
    """A checkpoint in the layout of the InternVL ``-hf`` ones: tiles of 56 pixels, 4 at most.

    `changes` are those of `internvl_config`.
    """
    tokenizer = make_tokenizer(
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(internvl_config(tokenizer, text, **changes))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "size": {"height": TILE, "width": TILE},
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 4,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
    )
    return directory


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


@pytest.fixture(scope="session")
def internvl_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One such checkpoint for a whole session; not to be changed. A conftest imports it to offer it."""
    return make_internvl(tmp_path_factory.mktemp("internvl") / "small")
