"""Families after LLaVA: a vision tower, a projector, and a language model of its own kind."""

import transformers

from tests.support.families.family import (
    CLIP,
    IDS,
    IMAGE,
    SIGLIP,
    TEXT,
    VISION,
    Family,
    anyres,
    sized,
    square,
)

PINPOINTS = [[28, 28], [28, 56], [56, 28]]
PIXTRAL = VISION | {"model_type": "pixtral", "head_dim": 8, "image_size": 112}


def llava() -> Family:
    config = transformers.LlavaConfig(
        vision_config=CLIP, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE
    )
    return Family(transformers.LlavaForConditionalGeneration(config), square(4))


def pixtral() -> Family:
    config = transformers.LlavaConfig(
        vision_config=PIXTRAL,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": None},
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return Family(transformers.LlavaForConditionalGeneration(config), sized())


def llava_next() -> Family:
    config = transformers.LlavaNextConfig(
        vision_config=CLIP,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": 7},
        image_token_id=IMAGE,
        image_grid_pinpoints=PINPOINTS,
    )
    return Family(transformers.LlavaNextForConditionalGeneration(config), anyres())


def llava_onevision() -> Family:
    config = transformers.LlavaOnevisionConfig(
        vision_config=SIGLIP,
        text_config=TEXT | {"model_type": "qwen2"},
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        **IDS,
    )
    return Family(transformers.LlavaOnevisionForConditionalGeneration(config), anyres())


def vipllava() -> Family:
    config = transformers.VipLlavaConfig(
        vision_config=CLIP,
        text_config=TEXT | {"model_type": "llama"},
        image_token_id=IMAGE,
        vision_feature_layer=[-1, -2],
    )
    return Family(transformers.VipLlavaForConditionalGeneration(config), square(4))


def mistral3() -> Family:
    config = transformers.Mistral3Config(
        vision_config=PIXTRAL,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": None},
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )
    return Family(transformers.Mistral3ForConditionalGeneration(config), sized(merge=2))


def lighton_ocr() -> Family:
    config = transformers.LightOnOcrConfig(
        text_config=TEXT | {"model_type": "qwen3"},
        vision_config=PIXTRAL,
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )
    return Family(transformers.LightOnOcrForConditionalGeneration(config), sized(merge=2))
