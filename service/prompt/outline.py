"""A model as the replica process knows it: all that it takes to write prompts and to read answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.prompt.inputs import InputBuilder
from service.prompt.reading import Positions, Sight


class PromptHooks(Protocol):
    """What a model's own forward needs of a prompt besides its tokens and images; see `PromptReader`."""

    def positions(self, ids: Sequence[int], extra: Mapping[str, np.ndarray]) -> Positions | None:
        """Position ids of a prompt; None where they are the places of the tokens."""
        ...

    def sight(self, ids: Sequence[int], extra: Mapping[str, np.ndarray]) -> Sight | None:
        """What tokens see, where some see later ones; None where all see those before them alone."""
        ...


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
    hooks: Callable[[], PromptHooks] | None = None
