"""A maker of small random checkpoints of families other than InternVL."""

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.support.checkpoints import CHAT_TEMPLATE, SMALL_TEXT, make_tokenizer
from tests.support.families.family import VISION

FAMILIES = ("llava_onevision", "idefics3", "qwen2_5_vl")

FAMILY_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)

PLACEHOLDERS = {
    "llava_onevision": "<image>",
    "idefics3": "<image>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}


def make_other(directory: Path, family: str, template: str = CHAT_TEMPLATE) -> Path:
    """A checkpoint of another family, with its own processor and a chat template."""
    tokenizer = make_tokenizer(special=FAMILY_SPECIAL)
    processor = _processor(family, tokenizer)
    processor.chat_template = template.replace("<IMG_CONTEXT>\\n", PLACEHOLDERS[family])
    torch.manual_seed(0)
    model = _model(family, tokenizer)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _processor(family: str, tokenizer: Any) -> Any:
    if family == "llava_onevision":
        return transformers.LlavaOnevisionProcessor(
            image_processor=transformers.LlavaOnevisionImageProcessor(
                size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]]
            ),
            tokenizer=tokenizer,
            video_processor=transformers.LlavaOnevisionVideoProcessor(),
            num_image_tokens=4,
            vision_feature_select_strategy="full",
        )
    if family == "idefics3":
        return transformers.Idefics3Processor(
            transformers.Idefics3ImageProcessor(
                size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
            ),
            tokenizer,
            image_seq_len=1,
        )
    return transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(
            patch_size=14, merge_size=2, size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
        ),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
    )


def _model(family: str, tokenizer: Any) -> Any:
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in tokenizer.all_special_tokens}
    ids |= tokenizer.get_added_vocab()
    text = SMALL_TEXT | {
        "max_position_embeddings": 2048,
        "vocab_size": len(tokenizer),
        "pad_token_id": ids["<|endoftext|>"],
    }
    if family == "llava_onevision":
        return transformers.LlavaOnevisionForConditionalGeneration(
            transformers.LlavaOnevisionConfig(
                vision_config=VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
                text_config=text | {"model_type": "qwen2"},
                image_token_id=ids["<image>"],
                video_token_id=ids["<video>"],
                image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
                vision_feature_select_strategy="full",
                vision_feature_layer=-1,
                tie_word_embeddings=False,
            )
        )
    if family == "idefics3":
        return transformers.Idefics3ForConditionalGeneration(
            transformers.Idefics3Config(
                vision_config=VISION,
                text_config=text | {"model_type": "llama"},
                image_token_id=ids["<image>"],
                scale_factor=2,
            )
        )
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            vision_config={
                "hidden_size": 32,
                "out_hidden_size": 32,
                "intermediate_size": 48,
                "depth": 2,
                "num_heads": 4,
                "fullatt_block_indexes": [1],
            },
            text_config=text
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    )
