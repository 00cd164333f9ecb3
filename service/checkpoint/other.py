"""Checkpoints of other families that transformers knows as image-text-to-text models."""

from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    TokenizersBackend,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from service.checkpoint.plan import Plan, config_from, generation_config, stop_ids
from service.checkpoint.tokenizer import load_tokenizer
from service.checkpoint.weights import quiet
from service.errors import CheckpointError, RequestError
from service.prompt.inputs import DecodedTurn
from service.prompt.processor_inputs import ProcessorInputs

# Where the families keep the length of their context, in tokens.
LENGTHS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions")


def plan_other(directory: Path, raw: dict[str, Any]) -> Plan:
    """What is to be built for any other model that takes images and text. Raises CheckpointError."""
    config = _config(raw)
    model_class = _model_class(config)
    tokenizer = load_tokenizer(directory)
    inputs = ProcessorInputs(_processor(directory))
    _refuse_useless_template(inputs)
    generation = generation_config(directory)
    text = config.get_text_config()
    return Plan(
        architecture="other",
        model_class=model_class,
        config=config,
        tokenizer=tokenizer,
        inputs=inputs,
        generation=generation,
        stop_ids=stop_ids(
            getattr(generation, "eos_token_id", None),
            getattr(text, "eos_token_id", None),
            tokenizer.eos_token_id,
        ),
        context_length=_context_length(text, tokenizer),
    )


def _config(raw: dict[str, Any]) -> PreTrainedConfig:
    kind = str(raw.get("model_type"))
    if kind not in CONFIG_MAPPING:
        code = " and its remote code is never run" if "auto_map" in raw else ""
        raise CheckpointError(
            f"model type {kind!r} is not known to transformers{code}; serve a model that takes images and "
            "text, such as InternVL, LLaVA-OneVision or Qwen2.5-VL"
        )
    config_class: type[PreTrainedConfig] = CONFIG_MAPPING[kind]
    return config_from(config_class, raw)


def _model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise CheckpointError(
            f"model type {config.model_type!r} does not take images and text; serve one that does, such as "
            "InternVL, LLaVA-OneVision or Qwen2.5-VL"
        )
    found: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    chosen: type[PreTrainedModel] = found[0] if isinstance(found, tuple) else found
    return chosen


def _processor(directory: Path) -> ProcessorMixin:
    try:
        with quiet():
            processor = AutoProcessor.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(
            f"processor of the checkpoint cannot be built: {why}; copy preprocessor_config.json and the "
            "tokenizer's files from the model's repository"
        ) from error
    if not isinstance(processor, ProcessorMixin) or not hasattr(processor, "image_processor"):
        raise CheckpointError(
            "checkpoint has no processor of images; copy preprocessor_config.json from the model's repository"
        )
    return processor


def _context_length(text: PreTrainedConfig, tokenizer: TokenizersBackend) -> int:
    for name in LENGTHS:
        if isinstance(found := getattr(text, name, None), int):
            return found
    if tokenizer.model_max_length < 10**9:  # transformers' way to say that there is no bound
        return int(tokenizer.model_max_length)
    raise CheckpointError(
        "config.json does not say how long the context is; set max_position_embeddings in its text_config"
    )


def _refuse_useless_template(inputs: ProcessorInputs) -> None:
    """Raise where the chat template cannot take the simplest conversation of all."""
    try:
        inputs.build([DecodedTurn("user", ("Hello",))])
    except RequestError as error:
        raise CheckpointError(
            f"checkpoint cannot be talked to: {error.message.partition(';')[0]}; copy chat_template.jinja "
            "from the model's repository"
        ) from error
