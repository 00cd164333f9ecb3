"""Small random models of many families of transformers, and prompts with images for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers

IMAGE, VIDEO, VISION_START, VISION_END, PAD = 190, 191, 192, 193, 0
VOCABULARY = 200

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO}


@dataclass(frozen=True)
class Prompt:
    """Token ids, and the tensors that a processor would add."""

    ids: list[int]
    extra: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """A model, and how many tokens and which tensors images are for it."""

    model: Any
    images: Callable[[int, torch.Generator], tuple[list[list[int]], dict[str, torch.Tensor]]]
    token_types: str | None = None
    bidirectional_text: bool = False


def prompt(family: Family, images: int, seed: int, words: int = 5) -> Prompt:
    """A prompt of random words with images among them."""
    random = torch.Generator().manual_seed(seed)

    def text() -> list[int]:
        return torch.randint(3, 180, (words,), generator=random).tolist()

    spans, extra = family.images(images, random) if images else ([], {})
    ids, types = text(), [0] * words
    for span in spans:
        ids += [*span, *(more := text())]
        types += [int(token == IMAGE) for token in span] + [0] * len(more)
    if family.token_types is not None:
        extra |= {family.token_types: torch.tensor([types])}
    if family.bidirectional_text:  # PaliGemma: 0 is the prefix that is read in both directions
        extra |= {"token_type_ids": torch.zeros(1, len(ids), dtype=torch.long)}
    return Prompt(ids, extra)


def _square(tokens: int, size: int = 28, **more: Any) -> Any:
    """Images of one size, each `tokens` tokens."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(count, 3, size, size, generator=random)
        return [[IMAGE] * tokens] * count, {"pixel_values": pixels} | more

    return images


def _grids(patch: int = 14, merge: int = 2, temporal: int = 2) -> Any:
    """Images of their own size, as Qwen's processors cut them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        grids = [(1, merge * (1 + number % 2), merge * (2 + number % 3)) for number in range(count)]
        patches = sum(height * width for _, height, width in grids)
        pixels = torch.randn(patches, 3 * temporal * patch * patch, generator=random)
        spans = [
            [VISION_START, *[IMAGE] * (height * width // merge**2), VISION_END] for _, height, width in grids
        ]
        return spans, {"pixel_values": pixels, "image_grid_thw": torch.tensor(grids)}

    return images


def _sized(patch: int = 14, merge: int = 1) -> Any:
    """Images of their own size, padded to one, with their sizes, as Pixtral's processor gives them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        unit = patch * merge
        sizes = [(unit * (1 + number % 2), unit * (2 + number % 2)) for number in range(count)]
        pixels = torch.randn(count, 3, 2 * unit, 3 * unit, generator=random)
        spans = [[IMAGE] * (height * width // unit**2) for height, width in sizes]
        return spans, {"pixel_values": pixels, "image_sizes": torch.tensor(sizes)}

    return images


def _tiled(tokens: int, tiles: int = 2) -> Any:
    """Images of several tiles in one tensor [1, tiles, 3, H, W], as Idefics' processors give them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(1, count * tiles, 3, 28, 28, generator=random)
        span = ([VISION_START] + [IMAGE] * tokens) * tiles + [VISION_END]
        mask = torch.ones(1, count * tiles, 28, 28, dtype=torch.long)
        return [span] * count, {"pixel_values": pixels, "pixel_attention_mask": mask}

    return images


def _anyres() -> Any:
    """Images of three patches with newlines, as LLaVA-NeXT's processors give them."""

    def images(count: int, random: torch.Generator) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        pixels = torch.randn(count, 3, 3, 28, 28, generator=random)
        return [[IMAGE] * 14] * count, {
            "pixel_values": pixels,
            "image_sizes": torch.tensor([[28, 56]] * count),
        }

    return images


PINPOINTS = [[28, 28], [28, 56], [56, 28]]
CLIP = VISION | {"model_type": "clip_vision_model", "projection_dim": 32}
SIGLIP = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
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

PIXTRAL = VISION | {"model_type": "pixtral", "head_dim": 8, "image_size": 112}
COHERE2 = TEXT | {"model_type": "cohere2", "sliding_window": 6, "sliding_window_pattern": 3}
GEMMA_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
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


def _internvl() -> Family:
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
    return Family(transformers.InternVLForConditionalGeneration(config), _square(1))


def _qwen2_vl() -> Family:
    config = transformers.Qwen2VLConfig(
        vision_config=QWEN2_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen2VLForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _qwen2_5_vl() -> Family:
    config = transformers.Qwen2_5_VLConfig(
        vision_config=QWEN25_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen2_5_VLForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _qwen3_vl() -> Family:
    config = transformers.Qwen3VLConfig(
        vision_config=QWEN3_VISION, text_config=TEXT | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen3VLForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _qwen3_vl_moe() -> Family:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = transformers.Qwen3VLMoeConfig(
        vision_config=QWEN3_VISION, text_config=TEXT | experts | {"rope_parameters": MROPE}, **QWEN_IDS
    )
    return Family(transformers.Qwen3VLMoeForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _llava() -> Family:
    config = transformers.LlavaConfig(
        vision_config=CLIP, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE
    )
    return Family(transformers.LlavaForConditionalGeneration(config), _square(4))


def _pixtral() -> Family:
    config = transformers.LlavaConfig(
        vision_config=PIXTRAL,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": None},
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return Family(transformers.LlavaForConditionalGeneration(config), _sized())


def _llava_next() -> Family:
    config = transformers.LlavaNextConfig(
        vision_config=CLIP,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": 7},
        image_token_id=IMAGE,
        image_grid_pinpoints=PINPOINTS,
    )
    return Family(transformers.LlavaNextForConditionalGeneration(config), _anyres())


def _llava_onevision() -> Family:
    config = transformers.LlavaOnevisionConfig(
        vision_config=SIGLIP,
        text_config=TEXT | {"model_type": "qwen2"},
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        **IDS,
    )
    return Family(transformers.LlavaOnevisionForConditionalGeneration(config), _anyres())


def _vipllava() -> Family:
    config = transformers.VipLlavaConfig(
        vision_config=CLIP,
        text_config=TEXT | {"model_type": "llama"},
        image_token_id=IMAGE,
        vision_feature_layer=[-1, -2],
    )
    return Family(transformers.VipLlavaForConditionalGeneration(config), _square(4))


def _idefics2() -> Family:
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
    return Family(transformers.Idefics2ForConditionalGeneration(config), _tiled(3))


def _idefics3() -> Family:
    config = transformers.Idefics3Config(
        vision_config=VISION, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE, scale_factor=2
    )
    return Family(transformers.Idefics3ForConditionalGeneration(config), _tiled(1))


def _smolvlm() -> Family:
    config = transformers.SmolVLMConfig(
        vision_config=VISION, text_config=TEXT | {"model_type": "llama"}, image_token_id=IMAGE, scale_factor=2
    )
    return Family(transformers.SmolVLMForConditionalGeneration(config), _tiled(1))


def _gemma3() -> Family:
    text = TEXT | {"layer_types": GEMMA_LAYERS}
    config = transformers.Gemma3Config(
        vision_config=SIGLIP,
        text_config=text | {"sliding_window": 6, "query_pre_attn_scalar": 8},
        image_token_id=IMAGE,
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    return Family(transformers.Gemma3ForConditionalGeneration(config), _square(4), "token_type_ids")


def _paligemma(text: dict[str, Any]) -> Family:
    config = transformers.PaliGemmaConfig(
        vision_config=SIGLIP | {"projection_dim": 32},
        text_config=TEXT | text,
        image_token_id=IMAGE,
        hidden_size=32,
        projection_dim=32,
        tie_word_embeddings=False,
    )
    return Family(transformers.PaliGemmaForConditionalGeneration(config), _square(4), bidirectional_text=True)


def _mistral3() -> Family:
    config = transformers.Mistral3Config(
        vision_config=PIXTRAL,
        text_config=TEXT | {"model_type": "mistral", "sliding_window": None},
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )
    return Family(transformers.Mistral3ForConditionalGeneration(config), _sized(merge=2))


def _aya_vision() -> Family:
    config = transformers.AyaVisionConfig(
        vision_config=SIGLIP,
        text_config=COHERE2,
        image_token_id=IMAGE,
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
    )
    return Family(transformers.AyaVisionForConditionalGeneration(config), _square(1))


def _got_ocr2() -> Family:
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
    return Family(transformers.GotOcr2ForConditionalGeneration(config), _square(4, 128))


def _glm4v() -> Family:
    config = transformers.Glm4vConfig(
        vision_config=GLM_VISION, text_config=TEXT | {"rope_parameters": GLM_ROPE}, **GLM_IDS
    )
    return Family(transformers.Glm4vForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _glm46v() -> Family:
    config = transformers.Glm46VConfig(
        vision_config=GLM_VISION | {"model_type": "glm4v_vision"},
        text_config=TEXT | {"model_type": "glm4v_text", "rope_parameters": GLM_ROPE},
        **GLM_IDS,
    )
    return Family(transformers.Glm46VForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _ernie4_5_vl() -> Family:
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
        transformers.Ernie4_5_VLMoeForConditionalGeneration(config), _grids(temporal=1), "mm_token_type_ids"
    )


def _cohere2_vision() -> Family:
    config = transformers.Cohere2VisionConfig(
        vision_config=SIGLIP,
        text_config=COHERE2,
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    return Family(transformers.Cohere2VisionForConditionalGeneration(config), _square(1))


def _janus() -> Family:
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
    return Family(transformers.JanusForConditionalGeneration(config), _square(4))


def _deepseek_vl() -> Family:
    config = transformers.DeepseekVLConfig(
        text_config=TEXT | {"model_type": "llama"}, vision_config=SIGLIP, image_token_id=IMAGE
    )
    return Family(transformers.DeepseekVLForConditionalGeneration(config), _square(4))


def _lighton_ocr() -> Family:
    config = transformers.LightOnOcrConfig(
        text_config=TEXT | {"model_type": "qwen3"},
        vision_config=PIXTRAL,
        image_token_id=IMAGE,
        spatial_merge_size=2,
    )
    return Family(transformers.LightOnOcrForConditionalGeneration(config), _sized(merge=2))


def _aria() -> Family:
    experts = {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1}
    config = transformers.AriaConfig(
        text_config=TEXT | experts | {"model_type": "aria_text"},
        vision_config=VISION | {"model_type": "idefics3_vision"},
        projector_patch_to_query_dict={4: 3},
        image_token_id=IMAGE,
    )
    return Family(transformers.AriaForConditionalGeneration(config), _square(3))


def _ovis2() -> Family:
    config = transformers.Ovis2Config(
        text_config=TEXT | {"model_type": "qwen2"},
        vision_config=VISION | {"vocab_size": 24, "hidden_stride": 1, "num_visual_indicator_tokens": 2},
        image_token_id=IMAGE,
        visual_indicator_token_ids=[VISION_START, VISION_END],
        hidden_size=32,
    )
    return Family(transformers.Ovis2ForConditionalGeneration(config), _square(4))


def _qwen3_5() -> Family:
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
    return Family(transformers.Qwen3_5ForConditionalGeneration(config), _grids(), "mm_token_type_ids")


def _lfm2_vl() -> Family:
    text = TEXT | {"model_type": "lfm2", "layer_types": ["conv", "full_attention", "conv"]}
    vision = VISION | {"model_type": "siglip2_vision_model", "num_patches": 16}
    config = transformers.Lfm2VlConfig(text_config=text, vision_config=vision, image_token_id=IMAGE)
    return Family(transformers.Lfm2VlForConditionalGeneration(config), _square(4))


def _mllama() -> Family:
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
    return Family(transformers.MllamaForConditionalGeneration(config), _square(4))


def _llama4() -> Family:
    text = {"model_type": "llama4_text", "num_local_experts": 2, "intermediate_size_mlp": 48}
    config = transformers.Llama4Config(
        text_config=TEXT | text | {"attention_chunk_size": 8},
        vision_config=VISION | {"model_type": "llama4_vision_model", "vision_output_dim": 32},
    )
    return Family(transformers.Llama4ForConditionalGeneration(config), _square(1))


def _gemma4() -> Family:
    text = TEXT | {"layer_types": GEMMA_LAYERS, "sliding_window": 6, "vocab_size_per_layer_input": VOCABULARY}
    config = transformers.Gemma4Config(
        text_config=text, vision_config=VISION, audio_config=None, image_token_id=IMAGE
    )
    return Family(transformers.Gemma4ForConditionalGeneration(config), _square(4))


def _blip_2() -> Family:
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
    return Family(transformers.Blip2ForConditionalGeneration(config), _square(4))


# Families that packed batches cannot serve, and what the refusal says of each.
REFUSED: dict[str, tuple[Callable[[], Family], str]] = {
    "qwen3_5": (_qwen3_5, "layers of linear_attention"),
    "lfm2_vl": (_lfm2_vl, "layers of conv"),
    "llama4": (_llama4, "layers of chunked_attention"),
    "gemma4": (_gemma4, "layers differ in key-value heads"),
    "mllama": (_mllama, "does not take image features apart from pixels"),
    "blip_2": (_blip_2, "does not run on text alone"),
}

FAMILIES: dict[str, Callable[[], Family]] = {
    "internvl": _internvl,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "llava": _llava,
    "pixtral": _pixtral,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "vipllava": _vipllava,
    "idefics2": _idefics2,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "gemma3": _gemma3,
    "paligemma": lambda: _paligemma({"model_type": "gemma"}),
    "paligemma2": lambda: _paligemma({"model_type": "gemma2", "query_pre_attn_scalar": 8}),
    "mistral3": _mistral3,
    "aya_vision": _aya_vision,
    "got_ocr2": _got_ocr2,
    "glm4v": _glm4v,
    "glm46v": _glm46v,
    "ernie4_5_vl": _ernie4_5_vl,
    "cohere2_vision": _cohere2_vision,
    "janus": _janus,
    "deepseek_vl": _deepseek_vl,
    "lighton_ocr": _lighton_ocr,
    "aria": _aria,
}


# A family that is refused at its first image only.
OTHERS: dict[str, Callable[[], Family]] = {"ovis2": _ovis2}


def make(name: str) -> Family:
    """The family's small model, with weights large enough that answers vary."""
    torch.manual_seed(0)
    family = (FAMILIES.get(name) or OTHERS.get(name) or REFUSED[name][0])()
    family.model.eval()
    for parameter in family.model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return family
