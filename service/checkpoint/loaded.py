"""A model that is in memory and checked, with everything that is needed to talk to it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from service.prompt.inputs import InputBuilder


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
