"""What is to be built from a checkpoint's small files, before its weights are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from service.checkpoint import json_file
from service.checkpoint.weights import quiet
from service.errors import CheckpointError
from service.prompt.detokenizer import quickest
from service.prompt.inputs import InputBuilder
from service.prompt.outline import Outline
from service.prompt.prompt_reader import PromptReader

C = TypeVar("C", bound=PreTrainedConfig)

GENERATION = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """Model class, configuration and the way to talk to the model, of one of the layouts.

    `architecture` is "internvl" where tiles become `image_seq_length` embeddings each at `image_token_id`
    and the language model is a plain decoder, else "other". `tokenizer` is a transformers fast tokenizer.
    `context_length` bounds prompt and answer together, in tokens. `generation` is None where the checkpoint
    has no such file.
    """

    architecture: Literal["internvl", "other"]
    model_class: type[PreTrainedModel]
    config: PreTrainedConfig
    tokenizer: Any
    inputs: InputBuilder
    generation: GenerationConfig | None
    stop_ids: frozenset[int]
    context_length: int

    @property
    def pad_id(self) -> int:
        """The id that fills shorter rows of a batch: masked, so a stop id does where there is no other."""
        padding = self.tokenizer.pad_token_id
        return min(self.stop_ids) if padding is None else int(padding)

    def outline(self) -> Outline:
        """What the replica process has to know of the model."""
        return Outline(
            inputs=self.inputs,
            tokenizer=quickest(self.tokenizer),
            stop_ids=self.stop_ids,
            vocabulary_size=self.config.get_text_config().vocab_size,
            hooks=None if self.architecture == "internvl" else partial(_hooks, self.model_class, self.config),
        )


def _hooks(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PromptReader:
    with quiet(), torch.device("meta"):
        return PromptReader(model_class(config))


def config_from(config_class: type[C], raw: dict[str, Any]) -> C:
    """A configuration object. Raises CheckpointError for values that transformers refuses."""
    with describing(f"a {config_class.model_type}"):
        return config_class.from_dict(raw)


@contextmanager
def describing(what: str) -> Iterator[None]:
    """Turn what a configuration's class raises for its values into a CheckpointError."""
    try:
        yield
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"config.json does not describe {what} model: {_flat(error)}; copy it again"
        ) from error


def _flat(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def generation_config(directory: Path) -> GenerationConfig | None:
    """The checkpoint's own defaults of generation, or None where it has none."""
    found = json_file.read_if_there(directory, GENERATION)
    return None if found is None else GenerationConfig.from_dict(found)


def token_ids(value: object) -> frozenset[int]:
    """The ids in a configuration's `eos_token_id`, which is absent, a number or a list of numbers."""
    if isinstance(value, int):
        return frozenset({value})
    return frozenset(value) if isinstance(value, list | tuple | set) else frozenset()


def stop_ids(*candidates: object) -> frozenset[int]:
    """All ids of the candidates together. Raises CheckpointError where there is none."""
    found = frozenset[int]().union(*map(token_ids, candidates))
    if not found:
        raise CheckpointError(
            f"checkpoint names no end token; set eos_token_id in its {GENERATION}, "
            "or eos_token in tokenizer_config.json"
        )
    return found
