"""Original InternVL checkpoints, such as OpenGVLab/InternVL2-8B, read without their remote code."""

from pathlib import Path
from typing import Any

from transformers import TokenizersBackend

from service.checkpoint.internvl import IMAGENET_MEAN, IMAGENET_STD, TOKENS
from service.checkpoint.original_config import tile_size, translate
from service.checkpoint.original_weights import OriginalInternVL
from service.checkpoint.plan import Plan, describing, generation_config, stop_ids
from service.checkpoint.tokenizer import load_tokenizer, token_id
from service.media.tiles import TileSpec
from service.prompt.internvl_inputs import ImageTokens, InternVLInputs
from service.prompt.original_template import OriginalTemplate, template_of
from service.prompt.vocabulary import Vocabulary


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
        size=tile_size(raw),
        max_tiles=most,
        min_tiles=min(int(raw.get("min_dynamic_patch") or 1), most),
        thumbnail=bool(raw.get("use_thumbnail", True)),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
