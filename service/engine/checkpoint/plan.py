"""What is to be built from a checkpoint's small files, before its weights are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from service.engine.inputs import InputBuilder
from service.errors import CheckpointError

C = TypeVar("C", bound=PreTrainedConfig)


@dataclass(frozen=True, slots=True)
class Plan:
    """Model class, configuration and the way to talk to the model, of one of the layouts.

    `context_length` is in tokens. `generation` is None where the checkpoint has no such file.
    """

    architecture: Literal["internvl", "other"]
    model_class: type[PreTrainedModel]
    config: PreTrainedConfig
    tokenizer: Any
    inputs: InputBuilder
    generation: GenerationConfig | None
    stop_ids: frozenset[int]
    context_length: int


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
