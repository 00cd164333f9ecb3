"""Families whose images or tiles have one size."""

from typing import Any

import transformers

from tests.support.families.family import GEMMA_LAYERS, IMAGE, SIGLIP, TEXT, VISION, Family, square, tiled

COHERE2 = TEXT | {"model_type": "cohere2", "sliding_window": 6, "sliding_window_pattern": 3}


def internvl() -> Family:
    config = transformers.InternVLConfig(
        vision_config={
            **VISION,
            "image_size": [28, 28],
            "patch_size": [14, 14],
        },
        text_config=TEXT | {"model_type": "qwen2"},
        image_token_id=IMAGE,
        image_seq_length=1,
    )
    return Family(transformers.InternVLForConditionalGeneration(config), square(1))


def idefics2() -> Family:
    config = transformers.Idefics2Config(
        vision_config=VISION,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": None},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 3,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "num_key_value_heads": 1,
        },
        image_token_id=IMAGE,
    )
    return Family(transformers.Idefics2ForConditionalGeneration(config), tiled(3))


def idefics3() -> Family:
    config = transformers.Idefics3Config(
        vision_config=VISION, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE, scale_factor=2
    )
    return Family(transformers.Idefics3ForConditionalGeneration(config), tiled(1))


def smolvlm() -> Family:
    config = transformers.SmolVLMConfig(
        vision_config=VISION, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE, scale_factor=2
    )
    return Family(transformers.SmolVLMForConditionalGeneration(config), tiled(1))


def gemma3() -> Family:
    text = TEXT | {"layer_types": GEMMA_LAYERS}
    config = transformers.Gemma3Config(
        vision_config=SIGLIP,
        text_config=text | {"sliding_window": 6, "query_pre_attn_scalar": 8},
        image_token_id=IMAGE,
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    return Family(transformers.Gemma3ForConditionalGeneration(config), square(4), "token_type_ids")


def paligemma(text: dict[str, Any]) -> Family:
    config = transformers.PaliGemmaConfig(
        vision_config=SIGLIP | {"projection_dim": 32},
        text_config=TEXT | text,
        image_token_id=IMAGE,
        hidden_size=32,
        projection_dim=32,
        tie_word_embeddings=False,
    )
    return Family(transformers.PaliGemmaForConditionalGeneration(config), square(4), bidirectional_text=True)


def aya_vision() -> Family:
    config = transformers.AyaVisionConfig(
        vision_config=SIGLIP,
        text_config=COHERE2,
        image_token_id=IMAGE,
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
    )
    return Family(transformers.AyaVisionForConditionalGeneration(config), square(1))


def got_ocr2() -> Family:
    config = transformers.GotOcr2Config(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 128,
            "patch_size": 16,
            "output_channels": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
            "mlp_dim": 48,
        },
        text_config=TEXT | {"model_type": "qwen2"},
        image_token_id=IMAGE,
        image_seq_length=4,
    )
    return Family(transformers.GotOcr2ForConditionalGeneration(config), square(4, 128))


def cohere2_vision() -> Family:
    config = transformers.Cohere2VisionConfig(
        vision_config=SIGLIP,
        text_config=COHERE2,
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    return Family(transformers.Cohere2VisionForConditionalGeneration(config), square(1))


def janus() -> Family:
    vision = VISION | {"model_type": "janus_vision_model", "projection_dim": 32, "num_image_tokens": 4}
    generator = {
        "model_type": "janus_vqgan",
        "base_channels": 32,
        "embed_dim": 8,
        "num_embeddings": 16,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "latent_channels": 8,
        "projection_dim": 32,
        "image_token_embed_dim": 32,
        "num_patches": 4,
    }
    config = transformers.JanusConfig(
        text_config=TEXT | {"model_type": "llama"},
        vision_config=vision,
        vq_config=generator,
        image_token_id=IMAGE,
    )
    return Family(transformers.JanusForConditionalGeneration(config), square(4))


def deepseek_vl() -> Family:
    config = transformers.DeepseekVLConfig(
        text_config=TEXT | {"model_type": "llama"}, vision_config=SIGLIP, image_token_id=IMAGE
    )
    return Family(transformers.DeepseekVLForConditionalGeneration(config), square(4))


def aria() -> Family:
    experts = {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}
    config = transformers.AriaConfig(
        text_config=TEXT | experts | {"model_type": "aria_text"},
        vision_config=VISION | {"model_type": "idefics3_vision"},
        projector_patch_to_query_dict={4: 3},
        image_token_id=IMAGE,
    )
    return Family(transformers.AriaForConditionalGeneration(config), square(3))
