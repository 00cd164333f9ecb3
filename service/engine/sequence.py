"""A sequence as its rank sees it: from its prompt to its last token."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from time import monotonic

import numpy as np
import torch
from llguidance import LLMatcher

from service.engine.lookup import PromptLookup
from service.prompt.reading import Positions, Sight
from service.protocol.request import FinishReason, RankTimeline, Sampling, TokenLogprobs

logger = logging.getLogger("capstan.engine")


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image of a sequence: its `tiles`, uint8 [T, H, W, 3], if there are any to compute.

    `pages` are those of the feature cache that hold its features, or will.
    """

    key: object
    tiles: np.ndarray | None
    pages: tuple[int, ...] = ()


@dataclass(eq=False)
class Sequence:
    """The state of a sequence. Only the step loop writes it.

    `prompt` holds the token ids, `image_positions` where in it image features go; `limit` bounds the answer.
    `filled` tokens are in the `pages` of the cache; `page_hashes` name the content of the prompt's full
    pages. `images`, or the tensors of a processor in `extra`, are dropped once the model has seen them, as
    they are large; `features` [N, H], those of all images, are kept in case the sequence is preempted.
    `positions` and `sight` are for models that need them. The logits of an `adjusted` one are changed.
    `matcher` says which tokens may come next, if the answer must match a grammar, and `lookup` guesses them;
    rank 0 alone has either.
    """

    sampling: Sampling
    prompt: list[int] = field(default_factory=list)
    limit: int = 0
    number: int = 0
    images: tuple[ImageInput, ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)
    image_positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    positions: Positions | None = None
    sight: Sight | None = None
    features: torch.Tensor | None = None
    pages: list[int] = field(default_factory=list)
    page_hashes: list[bytes] = field(default_factory=list)
    filled: int = 0
    answer: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    generator: Random | None = None
    matcher: LLMatcher | None = None
    lookup: PromptLookup | None = None
    finish: FinishReason | None = None
    failed: bool = False
    cancelled: bool = False
    begun: bool = False
    reported: int = 0  # tokens of the answer that the replica has
    timeline: RankTimeline = field(default_factory=RankTimeline)
    adjusted: bool = field(init=False)
    _seen: dict[int, None] = field(default_factory=dict)
    _seen_answer: int = 0
    _counts: Counter[int] = field(default_factory=Counter)
    _counted: int = 0

    def __post_init__(self) -> None:
        self.adjusted = self.sampling.adjusts

    @property
    def seen(self) -> Collection[int]:
        """The different tokens of the prompt and the answer so far, for a penalty of repetition."""
        if not self._seen:
            self._seen = dict.fromkeys(self.prompt)
        self._seen.update(dict.fromkeys(self.answer[self._seen_answer :]))
        self._seen_answer = len(self.answer)
        return self._seen

    @property
    def counts(self) -> Mapping[int, int]:
        """How often each token is in the answer so far, for penalties of presence and frequency."""
        self._counts.update(self.answer[self._counted :])
        self._counted = len(self.answer)
        return self._counts

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

    def take(self, token: int, stop_ids: frozenset[int], logprobs: TokenLogprobs | None = None) -> None:
        """Append the next token, and see whether the answer ends here."""
        self.timeline.first_token = self.timeline.first_token or monotonic()
        if self.matcher is not None and self.matcher.is_error():  # it is too much work from here on
            self.failed = True
        elif token in stop_ids and not self.sampling.ignore_eos:
            self.finish = FinishReason.STOP
        else:
            self._append(token)
            if logprobs is not None:
                self.logprobs.append(logprobs)
        if self.failed:
            logger.error("the grammar of a request could not be followed")

    def _append(self, token: int) -> None:
        self.answer.append(token)
        if self.matcher is not None and not self.matcher.consume_token(token):
            self.failed = True
        elif self.matcher is not None and self.matcher.is_stopped():  # nothing could follow but a stop token
            self.finish = FinishReason.STOP
        elif len(self.answer) >= self.limit:
            self.finish = FinishReason.LENGTH

    @property
    def holds_images(self) -> bool:
        """Whether pixels are still to be read."""
        return bool(self.images) or bool(self.extra and len(self.image_positions) and self.features is None)

    def release(self) -> None:
        """Let go of tensors, on a device or shared."""
        self.images, self.extra, self.features = (), {}, None

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return self.finish is not None or self.failed or self.cancelled
