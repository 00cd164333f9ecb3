"""The shape of the embedded model, saved in InternVL's `-hf` layout."""

from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TILE = 56
MAX_TILES = 4
TOKENS_PER_TILE = 4
CONTEXT_LENGTH = 4096
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def new_model(tokenizer: PreTrainedTokenizerFast) -> InternVLForConditionalGeneration:
    """Build a model of about a million parameters with random weights."""
    vision = InternVLVisionConfig(
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=256,
        attention_bias=True,
        image_size=[TILE, TILE],
        patch_size=[14, 14],
        layer_scale_init_value=1.0,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=TOKENS_PER_TILE,
        tie_word_embeddings=True,
    )
    return InternVLForConditionalGeneration(config)


def save(model: InternVLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Convert the model to bfloat16 and save it with tokenizer and processor, as on the hub."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    model.to(torch.bfloat16).save_pretrained(out)  # type: ignore[arg-type]  # the stub of `to` is transformers' own
    size = {"height": TILE, "width": TILE}
    images = GotOcr2ImageProcessorPil(
        size=size, crop_to_patches=True, min_patches=1, max_patches=MAX_TILES, image_mean=MEAN, image_std=STD
    )
    videos = InternVLVideoProcessor(size=size, image_mean=MEAN, image_std=STD)
    InternVLProcessor(
        images, tokenizer, videos, image_seq_length=TOKENS_PER_TILE, chat_template=tokenizer.chat_template
    ).save_pretrained(out)
