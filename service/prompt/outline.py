"""A model as the replica process knows it: all that it takes to write prompts and to read answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.prompt.inputs import InputBuilder

if TYPE_CHECKING:  # it brings torch along
    from service.prompt.prompt_reader import PromptReader


@dataclass(frozen=True, slots=True)
class Outline:
    """What rank 0 says of its model before it reads the weights.

    It reads the checkpoint's small files for this process too, which can so do without torch: only the
    processors and hooks of other families than InternVL bring it along. `tokenizer` decodes and is either a
    `tokenizers.Tokenizer` or one of transformers. `hooks` makes those of a model that has any.
    """

    inputs: InputBuilder
    tokenizer: Any
    stop_ids: frozenset[int]
    vocabulary_size: int
    hooks: Callable[[], "PromptReader"] | None = None
