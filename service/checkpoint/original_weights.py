"""The weights of original InternVL checkpoints, renamed and split into transformers' modules as they load.

The published code no longer runs on transformers 5, but the architecture is that of its InternVL classes.
Source: the tensor names of the published checkpoints.
"""

from typing import Any

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Chunk, ConversionOps, WeightConverter, WeightRenaming
from transformers.models.internvl.modeling_internvl import InternVLVisionRMSNorm

VISION = "model.vision_tower."

# Regular expressions of the original names and what takes their place, in this order.
RENAMED = {
    r"^vision_model\.embeddings\.class_embedding": VISION + "embeddings.cls_token",
    r"^vision_model\.embeddings\.position_embedding": VISION + "embeddings.position_embeddings",
    r"^vision_model\.embeddings\.patch_embedding": VISION + "embeddings.patch_embeddings.projection",
    r"^vision_model\.encoder\.layers": VISION + "encoder.layer",
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


class OriginalInternVL(InternVLForConditionalGeneration):
    """InternVL with the weights of an original checkpoint; a class of its own carries its own renaming."""

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__(config)
        # transformers leaves the norms of queries and keys at 1e-6, whatever the configuration says.
        for name, module in self.model.vision_tower.named_modules():
            if name.endswith(("q_norm", "k_norm")) and isinstance(module, InternVLVisionRMSNorm):
                module.variance_epsilon = self.model.vision_tower.config.layer_norm_eps


class SplitInterleaved(ConversionOps):
    """InternLM2's ``wqkv``: for each key-value head its query heads, then its key, then its value."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],  # noqa: ARG002 - the signature is transformers'
        target_patterns: list[str],
        **kwargs: object,
    ) -> dict[str, Any]:
        """Split one fused tensor [K * (G + 2) * D, ...] into query, key and value.

        K key-value heads, each with G query heads; D channels a head. On one of several shards K is the
        number of heads of that shard. A tensor that cannot be split so is given back whole, and is then
        refused with its shape.
        """
        (tensors,) = input_dict.values()
        fused: torch.Tensor = tensors[0] if isinstance(tensors, list) else tensors
        config: Any = kwargs["config"]
        text = config.text_config
        groups = text.num_attention_heads // text.num_key_value_heads
        channels = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        if fused.shape[0] % ((groups + 2) * channels):
            return dict.fromkeys(target_patterns, fused)
        rest = fused.shape[1:]
        parts = fused.view(-1, groups + 2, channels, *rest)  # [K, G + 2, D, ...]
        query = parts[:, :groups].reshape(-1, *rest)  # [K * G * D, ...]
        key = parts[:, groups].reshape(-1, *rest)  # [K * D, ...]
        value = parts[:, groups + 1].reshape(-1, *rest)  # [K * D, ...]
        return dict(zip(target_patterns, (query, key, value), strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """Saving in the original layout is not needed."""
        raise NotImplementedError


def _transforms() -> list[WeightRenaming | WeightConverter]:
    return [
        *(WeightRenaming(source, target) for source, target in RENAMED.items()),
        WeightConverter(
            "attn.qkv",
            ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
            operations=[Chunk(dim=0)],
        ),
        WeightConverter(
            "attention.wqkv",
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            operations=[SplitInterleaved()],
        ),
    ]


register_checkpoint_conversion_mapping(OriginalInternVL.__name__, _transforms(), overwrite=True)
