"""Original InternVL checkpoints, such as OpenGVLab/InternVL2-8B, read without their remote code.

Source: the configurations of the published checkpoints, InternVL2-1B to InternVL3.
"""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, InternVLConfig, InternVLVisionConfig, PreTrainedConfig, TokenizersBackend

from service.checkpoint.internvl import IMAGENET_MEAN, IMAGENET_STD, TOKENS
from service.checkpoint.original_weights import OriginalInternVL
from service.checkpoint.plan import Plan, describing, generation_config, stop_ids
from service.checkpoint.tokenizer import load_tokenizer, token_id
from service.errors import CheckpointError
from service.media.tiles import TileSpec
from service.prompt.internvl_inputs import ImageTokens, InternVLInputs
from service.prompt.original_template import OriginalTemplate, template_of
from service.prompt.vocabulary import Vocabulary

# Language models whose weights have the same names in transformers, by their architecture in `llm_config`.
SAME_NAMES = {
    "LlamaForCausalLM": "llama",
    "Phi3ForCausalLM": "phi3",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
INTERNLM2 = "InternLM2ForCausalLM"

# What a saved configuration says about its own code, not about the model.
NOT_OF_THE_MODEL = frozenset(
    {"architectures", "auto_map", "model_type", "attn_implementation", "_attn_implementation", "torch_dtype"}
)


def plan_original(directory: Path, raw: dict[str, Any], max_tiles: int | None) -> Plan:
    """What is to be built for a checkpoint with model_type ``internvl_chat``. Raises CheckpointError."""
    template = template_of(raw.get("template", ""), raw.get("system_message"))
    tokenizer = load_tokenizer(directory)
    start, end, context = (token_id(tokenizer, text) for text in TOKENS.values())
    with describing("an original InternVL"):
        config = translate(raw, context)
        spec = _tile_spec(raw, max_tiles)
    text = config.get_text_config()
    vocabulary = Vocabulary(tokenizer, control=(*TOKENS.values(), *template.stops))
    image = ImageTokens(start, context, end, config.image_seq_length)
    generation = generation_config(directory)
    return Plan(
        architecture="internvl",
        model_class=OriginalInternVL,
        config=config,
        tokenizer=tokenizer,
        inputs=InternVLInputs(template, vocabulary, image, spec),
        generation=generation,
        stop_ids=_stops(tokenizer, template, getattr(generation, "eos_token_id", None)),
        context_length=int(text.max_position_embeddings),
    )


def _stops(tokenizer: TokenizersBackend, template: OriginalTemplate, generated: object) -> frozenset[int]:
    """The template's stops and the checkpoint's; the tokenizer's end token where the checkpoint has none."""
    known = tokenizer.get_vocab()
    named = [known[text] for text in template.stops if text in known]
    return stop_ids(named, tokenizer.eos_token_id if generated is None else generated)


def _tile_spec(raw: dict[str, Any], max_tiles: int | None) -> TileSpec:
    most = int(raw.get("max_dynamic_patch") or 12) if raw.get("dynamic_image_size", True) else 1
    most = max_tiles or most
    return TileSpec(
        size=_tile_size(raw),
        max_tiles=most,
        min_tiles=min(int(raw.get("min_dynamic_patch") or 1), most),
        thumbnail=bool(raw.get("use_thumbnail", True)),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def translate(config: dict[str, Any], image_token_id: int) -> InternVLConfig:
    """An original configuration as transformers' own.

    Raises CheckpointError for a variant that this code does not compute, naming the key and its value.
    """
    _require(config, "ps_version", "v2")
    _require(config, "use_backbone_lora", 0)
    _require(config, "use_llm_lora", 0)
    vision, ratio = _part(config, "vision_config"), float(config.get("downsample_ratio", 0.5))
    text = _translate_text(_part(config, "llm_config"))
    return InternVLConfig(
        vision_config=_translate_vision(vision),
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=int((_tile_size(config) // vision["patch_size"]) ** 2 * ratio**2),
        downsample_ratio=ratio,
        vision_feature_layer=int(config.get("select_layer", -1)),
        tie_word_embeddings=bool(getattr(text, "tie_word_embeddings", False)),
    )


def _tile_size(config: dict[str, Any]) -> int:
    """The side of a tile in pixels."""
    return int(config.get("force_image_size") or _part(config, "vision_config")["image_size"])


def _translate_text(config: dict[str, Any]) -> PreTrainedConfig:
    """InternLM2 is a Llama with fused weights; the others keep their own class."""
    architecture = (config.get("architectures") or [None])[0]
    rest = {key: value for key, value in config.items() if key not in NOT_OF_THE_MODEL}
    # Without the key, none of these models ties its embeddings.
    rest.setdefault("tie_word_embeddings", False)
    scaling = rest.get("rope_scaling") or {}
    if scaling.get("type") == "su":
        # The name that Phi-3 gave this scaling before transformers took it up.
        rest["rope_scaling"] = scaling | {"type": "longrope"}
    if architecture == INTERNLM2:
        rest["attention_bias"] = rest.pop("bias", False)
        return AutoConfig.for_model("llama", **rest)
    if architecture in SAME_NAMES:
        return AutoConfig.for_model(SAME_NAMES[architecture], **rest)
    known = ", ".join((INTERNLM2, *SAME_NAMES))
    raise CheckpointError(
        f"language model is a {architecture}; original InternVL checkpoints load with one of {known}"
    )


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


def _part(config: dict[str, Any], key: str) -> dict[str, Any]:
    part = config.get(key)
    if not isinstance(part, dict):
        raise CheckpointError(f"config.json has no {key}; copy the file again from the model's repository")
    return part


def _require(config: dict[str, Any], key: str, accepted: object) -> None:
    if config.get(key, accepted) != accepted:
        raise CheckpointError(
            f"config.json has {key} {config[key]!r}; only {accepted!r} is supported; serve another checkpoint"
        )
