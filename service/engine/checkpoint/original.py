"""The original InternVL layout (`OpenGVLab/InternVL2-8B` and its kin), read without its remote code.

The published code no longer runs on transformers 5. The architecture is the one of transformers' own InternVL
classes under other names, so the configuration is translated and the weights are renamed while they load.
Source: the `config.json` and the tensor names of the published checkpoints.
"""

from typing import Any

import torch
from transformers import AutoConfig, InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Chunk, ConversionOps, WeightConverter, WeightRenaming

from service.errors import CheckpointError

MODEL_TYPE = "internvl_chat"

# Language models whose weights have the same names in transformers.
SAME_NAMES = ("llama", "phi3", "qwen2", "qwen3")


class OriginalInternVL(InternVLForConditionalGeneration):
    """InternVL with the weights of an original checkpoint; a class of its own carries its own renaming."""


class SplitInterleavedQKV(ConversionOps):
    """InternLM2's `wqkv`: for each key-value head its query heads, then its key, then its value."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],  # noqa: ARG002 - the signature is transformers'
        target_patterns: list[str],
        *,
        config: InternVLConfig,
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        """Split one fused tensor [(G + 2) * K * D, ...] into query, key and value.

        K key-value heads, each with G query heads, of D channels.
        """
        (tensors,) = input_dict.values()
        fused = tensors[0] if isinstance(tensors, list) else tensors
        text = config.text_config
        heads, groups = text.num_key_value_heads, text.num_attention_heads // text.num_key_value_heads
        rest = fused.shape[1:]
        parts = fused.view(heads, groups + 2, -1, *rest)  # [K, G + 2, D, ...]
        query = parts[:, :groups].reshape(-1, *rest)  # [K * G * D, ...]
        key = parts[:, groups].reshape(-1, *rest)  # [K * D, ...]
        value = parts[:, groups + 1].reshape(-1, *rest)  # [K * D, ...]
        return dict(zip(target_patterns, (query, key, value), strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """Saving in the original layout is not needed."""
        raise NotImplementedError


def _renamings() -> list[WeightRenaming | WeightConverter]:
    vision = "model.vision_tower."
    plain = {
        r"^vision_model\.embeddings\.class_embedding": vision + "embeddings.cls_token",
        r"^vision_model\.embeddings\.position_embedding": vision + "embeddings.position_embeddings",
        r"^vision_model\.embeddings\.patch_embedding": vision + "embeddings.patch_embeddings.projection",
        r"^vision_model\.encoder\.layers": vision + "encoder.layer",
        r"\.attn\.proj": ".attention.projection_layer",
        r"\.attn\.q_norm": ".attention.q_norm",
        r"\.attn\.k_norm": ".attention.k_norm",
        r"\.norm1": ".layernorm_before",
        r"\.norm2": ".layernorm_after",
        r"\.ls1": ".lambda_1",
        r"\.ls2": ".lambda_2",
        r"^mlp1\.0": "model.multi_modal_projector.layer_norm",
        r"^mlp1\.1": "model.multi_modal_projector.linear_1",
        r"^mlp1\.3": "model.multi_modal_projector.linear_2",
        r"^language_model\.(?:lm_head|output)": "lm_head",
        r"^language_model\.model\.tok_embeddings": "model.language_model.embed_tokens",
        r"^language_model\.model": "model.language_model",
        r"\.attention\.wo": ".self_attn.o_proj",
        r"\.attention_norm": ".input_layernorm",
        r"\.ffn_norm": ".post_attention_layernorm",
        r"\.feed_forward\.w1": ".mlp.gate_proj",
        r"\.feed_forward\.w2": ".mlp.down_proj",
        r"\.feed_forward\.w3": ".mlp.up_proj",
    }
    return [
        *(WeightRenaming(source, target) for source, target in plain.items()),
        WeightConverter(
            "attn.qkv",
            ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
            operations=[Chunk(dim=0)],
        ),
        WeightConverter(
            "attention.wqkv",
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            operations=[SplitInterleavedQKV()],
        ),
    ]


register_checkpoint_conversion_mapping(OriginalInternVL.__name__, _renamings())


def translate(config: dict[str, Any], image_token_id: int) -> InternVLConfig:
    """Translate an original `config.json`.

    Raises CheckpointError for a variant that this code does not compute, naming the key and its value.
    """
    _require(config, "ps_version", ("v2",))
    _require(config, "select_layer", (-1,))
    vision, ratio = config["vision_config"], config.get("downsample_ratio", 0.5)
    size = config.get("force_image_size") or vision["image_size"]
    if size != vision["image_size"]:
        # The position embedding would have to be resized; no published checkpoint asks for it.
        raise CheckpointError(
            f"force_image_size is {size} where the vision tower has {vision['image_size']}; "
            "use a checkpoint with both alike"
        )
    text = translate_text(config["llm_config"])
    return InternVLConfig(
        vision_config=_translate_vision(vision),
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=int((size // vision["patch_size"]) ** 2 * ratio**2),
        downsample_ratio=ratio,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )


def translate_text(config: dict[str, Any]) -> Any:  # noqa: ANN401 - transformers has no common type with these
    """Translate `llm_config`: InternLM2 is a Llama with fused weights; others keep their own class."""
    kind = config.get("model_type", "")
    rest = {key: value for key, value in config.items() if key not in ("architectures", "auto_map", "model_type")}
    if kind == "internlm2":
        rest["attention_bias"] = rest.pop("bias", False)
        return AutoConfig.for_model("llama", **_with_rope(rest))
    if kind in SAME_NAMES:
        return AutoConfig.for_model(kind, **_with_rope(rest))
    known = ", ".join(("internlm2", *SAME_NAMES))
    raise CheckpointError(f"the language model is a {kind!r}; original InternVL checkpoints load with {known}")


def _with_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Move `rope_theta` and `rope_scaling` to where transformers 5 reads them."""
    config = {key: value for key, value in config.items() if key not in ("attn_implementation", "torch_dtype")}
    theta, scaling = config.pop("rope_theta", None), config.pop("rope_scaling", None)
    if theta is None and scaling is None:
        return config
    rope = {"rope_type": "default", **(scaling or {})}
    rope["rope_type"] = rope.pop("type", rope["rope_type"])
    if theta is not None:
        rope["rope_theta"] = float(theta)
    return {**config, "rope_parameters": rope}


def _translate_vision(config: dict[str, Any]) -> InternVLVisionConfig:
    return InternVLVisionConfig(
        hidden_size=config["hidden_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        image_size=[config["image_size"]] * 2,
        patch_size=[config["patch_size"]] * 2,
        attention_bias=config.get("qkv_bias", True),
        use_qk_norm=config.get("qk_normalization", False),
        norm_type=config.get("norm_type", "layer_norm"),
        layer_norm_eps=config.get("layer_norm_eps", 1e-6),
        hidden_act=config.get("hidden_act", "gelu"),
    )


def _require(config: dict[str, Any], key: str, accepted: tuple[object, ...]) -> None:
    if config.get(key, accepted[0]) not in accepted:
        wanted = " or ".join(map(repr, accepted))
        raise CheckpointError(f"config.json has {key} {config[key]!r}; this server computes {wanted} alone")
