"""A model that is in memory and checked, with everything that is needed to talk to it."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from service.checkpoint.plan import Plan
from service.checkpoint.weights import quiet
from service.prompt.detokenizer import quickest
from service.prompt.inputs import InputBuilder
from service.prompt.outline import Outline
from service.prompt.prompt_reader import PromptReader


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The result of loading a checkpoint.

    `model` is in eval mode on `device` in `dtype`. `tokenizer` is a transformers fast tokenizer.
    `architecture` is "internvl" where tiles become `image_seq_length` embeddings each at `image_token_id`
    and the language model is a plain decoder, else "other": such a model is run only through its own
    `generate`. `context_length` bounds prompt and answer together, in tokens.
    `seconds` says how long each phase of the start took; further ones are added as they end.
    """

    name: str
    revision: str | None
    architecture: Literal["internvl", "other"]
    model: PreTrainedModel
    tokenizer: Any
    inputs: InputBuilder
    stop_ids: frozenset[int]
    pad_id: int
    context_length: int
    device: torch.device
    dtype: torch.dtype
    seconds: dict[str, float] = field(default_factory=dict, kw_only=True)


def outline_of(model: Plan | LoadedModel) -> Outline:
    """The outline of a model, whether its weights are there or not."""
    if isinstance(model, Plan):
        model_class, config = model.model_class, model.config
    else:
        model_class, config = type(model.model), model.model.config
    return Outline(
        inputs=model.inputs,
        tokenizer=quickest(model.tokenizer),
        stop_ids=model.stop_ids,
        vocabulary_size=config.get_text_config().vocab_size,
        hooks=None if model.architecture == "internvl" else partial(_hooks, model_class, config),
    )


def _hooks(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PromptReader:
    with quiet(), torch.device("meta"):
        return PromptReader(model_class(config))
