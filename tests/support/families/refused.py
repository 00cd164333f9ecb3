"""Families that packed batches cannot serve."""

import transformers

from tests.support.families.family import (
    GEMMA_LAYERS,
    IMAGE,
    MROPE,
    TEXT,
    VISION,
    VISION_END,
    VISION_START,
    VOCABULARY,
    Family,
    grids,
    square,
)
from tests.support.families.grids import QWEN3_VISION, QWEN_IDS


def qwen3_5() -> Family:
    linear = {
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "num_hidden_layers": 4,
    }
    rope = MROPE | {"partial_rotary_factor": 1.0}
    vision = {name: value for name, value in QWEN3_VISION.items() if name != "deepstack_visual_indexes"}
    config = transformers.Qwen3_5Config(
        text_config=TEXT | linear | {"rope_parameters": rope}, vision_config=vision, **QWEN_IDS
    )
    return Family(transformers.Qwen3_5ForConditionalGeneration(config), grids(), "mm_token_type_ids")


def lfm2_vl() -> Family:
    text = TEXT | {"model_type": "lfm2", "layer_types": ["conv", "full_attention", "conv"]}
    vision = VISION | {"model_type": "siglip2_vision_model", "num_patches": 16}
    config = transformers.Lfm2VlConfig(text_config=text, vision_config=vision, image_token_id=IMAGE)
    return Family(transformers.Lfm2VlForConditionalGeneration(config), square(4))


def llama4() -> Family:
    text = {"model_type": "llama4_text", "num_local_experts": 2, "intermediate_size_mlp": 48}
    config = transformers.Llama4Config(
        text_config=TEXT | text | {"attention_chunk_size": 8},
        vision_config=VISION | {"model_type": "llama4_vision_model", "vision_output_dim": 32},
    )
    return Family(transformers.Llama4ForConditionalGeneration(config), square(1))


def gemma4() -> Family:
    text = TEXT | {"layer_types": GEMMA_LAYERS, "sliding_window": 6, "vocab_size_per_layer_input": VOCABULARY}
    config = transformers.Gemma4Config(
        text_config=text, vision_config=VISION, audio_config=None, image_token_id=IMAGE
    )
    return Family(transformers.Gemma4ForConditionalGeneration(config), square(4))


def mllama() -> Family:
    config = transformers.MllamaConfig(
        text_config=TEXT | {"model_type": "mllama_text_model", "cross_attention_layers": [1]},
        vision_config=VISION
        | {
            "model_type": "mllama_vision_model",
            "num_global_layers": 1,
            "attention_heads": 4,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
            "supported_aspect_ratios": [[1, 1]],
        },
    )
    return Family(transformers.MllamaForConditionalGeneration(config), square(4))


def blip_2() -> Family:
    text = {
        "model_type": "opt",
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": VOCABULARY,
        "word_embed_proj_dim": 32,
    }
    small = VISION | {"vocab_size": VOCABULARY}
    config = transformers.Blip2Config(
        text_config=text, vision_config=small, qformer_config=small, image_token_index=IMAGE
    )
    return Family(transformers.Blip2ForConditionalGeneration(config), square(4))


def ovis2() -> Family:
    config = transformers.Ovis2Config(
        text_config=TEXT | {"model_type": "qwen2"},
        vision_config=VISION | {"vocab_size": 24, "hidden_stride": 1, "num_visual_indicator_tokens": 2},
        image_token_id=IMAGE,
        visual_indicator_token_ids=[VISION_START, VISION_END],
        hidden_size=32,
    )
    return Family(transformers.Ovis2ForConditionalGeneration(config), square(4))
