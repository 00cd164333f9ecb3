"""What a rank tells the replica process about its model."""

from functools import partial

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from service.checkpoint.loaded import LoadedModel
from service.checkpoint.plan import Plan
from service.checkpoint.weights import quiet
from service.prompt.detokenizer import quickest
from service.prompt.outline import Outline
from service.prompt.prompt_reader import PromptReader


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
