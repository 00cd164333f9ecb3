"""InternVL in transformers' own layout: the checkpoints whose names end in ``-hf``."""

from pathlib import Path
from typing import Any

from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    TokenizersBackend,
)

from service.checkpoint import json_file
from service.checkpoint.plan import Plan, config_from, generation_config, stop_ids
from service.checkpoint.tokenizer import load_tokenizer, token_id
from service.errors import CheckpointError, RequestError
from service.media.tiles import TileSpec
from service.prompt.internvl_inputs import ImageTokens, InternVLInputs
from service.prompt.jinja_template import JinjaTemplate
from service.prompt.vocabulary import Vocabulary

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Attributes of a tokenizer that name the tokens around and within an image, and what they are without.
TOKENS = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}


def plan_internvl(directory: Path, raw: dict[str, Any], max_tiles: int | None) -> Plan:
    """What is to be built for a checkpoint with model_type ``internvl``. Raises CheckpointError."""
    config = config_from(InternVLConfig, raw)
    tokenizer = load_tokenizer(directory)
    spec = _tile_spec(directory, max_tiles)
    start, end, context = (getattr(tokenizer, name, None) or text for name, text in TOKENS.items())
    image = ImageTokens(
        token_id(tokenizer, start),
        token_id(tokenizer, context),
        token_id(tokenizer, end),
        checked_tokens_per_tile(config, spec.size),
    )
    if image.context != config.image_token_id:
        raise CheckpointError(
            f"config.json has image_token_id {config.image_token_id}, but the tokenizer reads {context!r} as "
            f"{image.context}; use the tokenizer and the config.json of one checkpoint"
        )
    template = JinjaTemplate(tokenizer, context, _chat_template(directory, tokenizer))
    inputs = InternVLInputs(template, Vocabulary(tokenizer, control=(start, end, context)), image, spec)
    _refuse_useless_template(inputs)
    generation = generation_config(directory)
    text = config.get_text_config()
    return Plan(
        architecture="internvl",
        model_class=InternVLForConditionalGeneration,
        config=config,
        tokenizer=tokenizer,
        inputs=inputs,
        generation=generation,
        stop_ids=stop_ids(
            getattr(generation, "eos_token_id", None), text.eos_token_id, tokenizer.eos_token_id
        ),
        context_length=int(text.max_position_embeddings),
    )


def checked_tokens_per_tile(config: InternVLConfig, size: int) -> int:
    """Image tokens of a tile of `size` pixels. Raises CheckpointError where the config disagrees."""
    patch = _side(vision_config(config).patch_size)
    computed = int((size // patch) ** 2 * config.downsample_ratio**2)
    if computed != config.image_seq_length:
        raise CheckpointError(
            f"config.json has image_seq_length {config.image_seq_length}, but a tile of {size} pixels makes "
            f"{computed} image tokens; use the config.json and the image settings of one checkpoint"
        )
    return computed


def vision_config(config: InternVLConfig) -> InternVLVisionConfig:
    """The part of the configuration that is about the vision tower."""
    found = config.vision_config
    if not isinstance(found, InternVLVisionConfig):
        raise CheckpointError(
            f"vision_config of config.json is no InternVL one, but {found!r}; copy it again"
        )
    return found


def _side(size: int | list[int] | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


def _tile_spec(directory: Path, max_tiles: int | None) -> TileSpec:
    """How images are cut, from the image processor's settings in either of the files that hold them."""
    nested = (json_file.read_if_there(directory, "processor_config.json") or {}).get("image_processor")
    found = nested or json_file.read(
        directory, "preprocessor_config.json", what="which says how images are cut into tiles"
    )
    size = found.get("size") or {}
    height, width = size.get("height", 448), size.get("width", 448)
    if height != width:
        raise CheckpointError(
            f"tiles of {height} x {width} pixels are not square; only square ones are served"
        )
    most = max_tiles or int(found.get("max_patches") or 12)
    return TileSpec(
        size=int(height),
        max_tiles=most,
        min_tiles=min(int(found.get("min_patches") or 1), most),
        thumbnail=True,
        mean=tuple(found.get("image_mean") or IMAGENET_MEAN),
        std=tuple(found.get("image_std") or IMAGENET_STD),
    )


def _chat_template(directory: Path, tokenizer: TokenizersBackend) -> str | None:
    """The chat template where it is not the tokenizer's own; None where it is. Raises CheckpointError."""
    legacy = json_file.read_if_there(directory, "chat_template.json") or {}
    if legacy.get("chat_template"):
        return str(legacy["chat_template"])
    if tokenizer.chat_template is None:
        raise CheckpointError(
            "checkpoint has no chat template; copy chat_template.jinja from the model's repository"
        )
    return None


def _refuse_useless_template(inputs: InternVLInputs) -> None:
    """Raise where the template cannot take the simplest conversation of all."""
    try:
        inputs.prepare((("user", ("image", "text")),))
    except RequestError as error:
        raise CheckpointError(
            f"chat template cannot place an image and a text in a user turn: {error.message}; "
            "copy chat_template.jinja from the model's repository"
        ) from error
