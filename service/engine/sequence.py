"""One computation of the engine: a sequence from its prompt to its last token."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import torch

from service.engine.features import CachedFeatures
from service.engine.inputs import ModelInputs
from service.engine.prompt.reading import Positions, Sight
from service.engine.request import FinishReason, Request
from service.engine.timeline import Timeline
from service.errors import RequestError

if TYPE_CHECKING:
    from service.engine.detokenizer import Detokenizer
    from service.engine.request_handle import RequestHandle


@dataclass(eq=False)
class Sequence:
    """The state of a sequence. Only the engine's own thread writes it once it is prepared.

    `prompt` holds the token ids, `image_positions` where in it image features go. `filled` tokens are in the
    `pages` of the cache; `page_hashes` name the content of the prompt's full pages. `inputs` are let go of
    once the model has seen the images, as tiles are large; `known` says for each image whether its features
    are cached; `features` [N, H], those of all images, are kept in case the sequence is preempted. Runners
    that need them set `positions` and `sight`.
    """

    request: Request
    listeners: list["RequestHandle"] = field(default_factory=list)
    key: Hashable | None = None
    inputs: ModelInputs | None = None
    image_keys: tuple[Hashable, ...] = ()
    known: list[CachedFeatures | None] = field(default_factory=list)
    image_tiles: int = 0
    features: torch.Tensor | None = None
    prompt: list[int] = field(default_factory=list)
    image_positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    positions: Positions | None = None
    sight: Sight | None = None
    limit: int = 0
    pages: list[int] = field(default_factory=list)
    page_hashes: list[bytes] = field(default_factory=list)
    filled: int = 0
    answer: list[int] = field(default_factory=list)
    detokenizer: "Detokenizer | None" = None
    generator: Random | None = None
    finish: FinishReason | None = None
    error: RequestError | None = None
    cancelled: bool = False
    timeline: Timeline = field(default_factory=Timeline)
    _seen: dict[int, None] = field(default_factory=dict)
    _seen_answer: int = 0

    @property
    def seen(self) -> Collection[int]:
        """The different tokens of the prompt and the answer so far, for a penalty of repetition."""
        if not self._seen:
            self._seen = dict.fromkeys(self.prompt)
        self._seen.update(dict.fromkeys(self.answer[self._seen_answer :]))
        self._seen_answer = len(self.answer)
        return self._seen

    @property
    def length(self) -> int:
        """Tokens of the prompt and the answer so far."""
        return len(self.prompt) + len(self.answer)

    def tokens(self, start: int, end: int) -> list[int]:
        """Tokens of the prompt and the answer."""
        first = len(self.prompt)
        if start >= first:
            return self.answer[start - first : end - first]
        return self.prompt[start:end] + self.answer[: max(0, end - first)]

    def take(self, token: int, stop_ids: frozenset[int]) -> None:
        """Append the next token, see whether the answer ends here, and spell out what somebody reads."""
        if not self.timeline.first_token:
            self.timeline.first_token = monotonic()
        if token in stop_ids:
            self.finish = FinishReason.STOP
        else:
            self.answer.append(token)
            if len(self.answer) >= self.limit:
                self.finish = FinishReason.LENGTH
        self._spell()

    def _spell(self) -> None:
        text = self.detokenizer
        if text is None:
            return
        read = bool(self.request.sampling.stop) or any(listener.streamed for listener in self.listeners)
        if read or self.finish is not None:
            text.add(self.answer[text.taken :])
        if self.finish is not None:
            text.finish()
        if text.stopped:
            self.finish = FinishReason.STOP

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return self.finish is not None or self.error is not None or self.cancelled
