"""Families whose images keep their size, cut into a grid of patches: Qwen, GLM, Ernie."""

import transformers

from tests.support.families.family import IDS, MROPE, TEXT, VISION_END, VISION_START, Family, grids

QWEN_IDS = IDS | {"vision_start_token_id": VISION_START, "vision_end_token_id": VISION_END}
QWEN2_VISION = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2}
QWEN25_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "fullatt_block_indexes": [1],
    "window_size": 28,
}
QWEN3_VISION = {
    "depth": 3,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": 14,
    "deepstack_visual_indexes": [0, 1],
    "num_position_embeddings": 16,
}
GLM_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": 14,
    "image_size": 56,
}
GLM_ROPE = MROPE | {"partial_rotary_factor": 1.0}
GLM_IDS = IDS | {
    "image_start_token_id": VISION_START,
    "image_end_token_id": VISION_END,
    "video_start_token_id": 194,
    "video_end_token_id": 195,
}


def qwen2_vl() -> Family:
    config = transformers.Qwen2VLConfig(
        vision_config=QWEN2_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen2VLForConditionalGeneration(config), grids(), "mm_token_type_ids")


def qwen2_5_vl() -> Family:
    config = transformers.Qwen2_5_VLConfig(
        vision_config=QWEN25_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen2_5_VLForConditionalGeneration(config), grids(), "mm_token_type_ids")


def qwen3_vl() -> Family:
    config = transformers.Qwen3VLConfig(
        vision_config=QWEN3_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen3VLForConditionalGeneration(config), grids(), "mm_token_type_ids")


def qwen3_vl_moe() -> Family:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = transformers.Qwen3VLMoeConfig(
        vision_config=QWEN3_VISION, text_config=TEXT | experts | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen3VLMoeForConditionalGeneration(config), grids(), "mm_token_type_ids")


def glm4v() -> Family:
    config = transformers.Glm4vConfig(
        vision_config=GLM_VISION, text_config=TEXT | {"rope_parameters": GLM_ROPE}, **GLM_IDS
    )
    return Family(transformers.Glm4vForConditionalGeneration(config), grids(), "mm_token_type_ids")


def glm46v() -> Family:
    config = transformers.Glm46VConfig(
        vision_config=GLM_VISION | {"model_type": "glm4v_vision"},
        text_config=TEXT | {"model_type": "glm4v_text", "rope_parameters": GLM_ROPE},
        **GLM_IDS,
    )
    return Family(transformers.Glm46VForConditionalGeneration(config), grids(), "mm_token_type_ids")


def ernie4_5_vl() -> Family:
    experts = {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": [16, 16]}
    config = transformers.Ernie4_5_VLMoeConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 4,
            "patch_size": 14,
            "intermediate_size": 48,
        },
        text_config=TEXT | experts | {"rope_parameters": MROPE},
        image_start_token_id=VISION_START,
        image_end_token_id=VISION_END,
        **IDS,
    )
    return Family(
        transformers.Ernie4_5_VLMoeForConditionalGeneration(config), grids(temporal=1), "mm_token_type_ids"
    )
