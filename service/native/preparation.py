"""What a request needs before the model sees it: images decoded and cut, the prompt tokenized.

Runs in worker threads of the HTTP process, so that neither a step nor the event loop waits for it.
"""

import json
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from service.engine.ranks.messages import Add, ImageSource
from service.engine.ranks.shared_memory import Region, SharedMemory
from service.errors import ErrorCode, RequestError
from service.media.decode import ImageDecoder
from service.native.answer import Answer
from service.native.feature_directory import FeatureDirectory, KeptFeatures
from service.prompt.detokenizer import Detokenizer
from service.prompt.grammar import Grammars
from service.prompt.inputs import DecodedTurn, KnownImage, Picture
from service.prompt.internvl_inputs import frames_of
from service.prompt.outline import Outline
from service.protocol.request import Content, EncodedImage, EncodedVideo, Request, Turn

if TYPE_CHECKING:  # it brings torch along
    from service.prompt.prompt_reader import PromptReader

# Up to so many bytes of arrays go into the message itself: a memory of their own takes 40 us longer.
INLINE_BYTES = 64 * 1024


def share_key(request: Request) -> Hashable | None:
    """What two requests have in common whose answers must be equal; None if chance decides."""
    if not request.sampling.deterministic:
        return None
    turns = tuple((turn.role, tuple(map(_content_key, turn.content))) for turn in request.turns)
    passed = [request.passed, *(turn.passed for turn in request.turns)]
    more = json.dumps([dict(one) for one in passed]) if any(passed) else ""
    return (turns, request.sampling, request.shorten, more)


def _content_key(part: Content) -> Hashable:
    if isinstance(part, EncodedVideo):
        return tuple(map(_image_key, part.frames))
    return part if isinstance(part, str) else _image_key(part)


def _image_key(image: EncodedImage) -> tuple[bytes, int | None]:
    """What features depend on."""
    return image.digest, image.max_tiles


class Preparation:
    """Makes messages for rank 0 from requests to one model. Safe to call from several threads.

    `context_length` bounds prompt and answer together, in tokens. `hooks` are those of a model whose forward
    needs more of a prompt than tokens.
    """

    def __init__(
        self,
        outline: Outline,
        decoder: ImageDecoder,
        features: FeatureDirectory,
        *,
        context_length: int,
        hooks: "PromptReader | None" = None,
    ) -> None:
        self.outline = outline
        self.decoder = decoder
        self.features = features
        self.context_length = context_length
        self.hooks = hooks
        self.grammars = Grammars(outline.tokenizer, outline.stop_ids)

    def prepare(self, answer: Answer) -> tuple[Add, SharedMemory | None]:
        """The message that starts an answer, and the memory with its arrays.

        An image whose features are known is not even decoded.
        Raises RequestError for an image, a prompt or a grammar that cannot be taken.
        """
        request = answer.request
        self._check_tokens(request)
        if request.sampling.grammar is not None:
            self.grammars.matcher(request.sampling.grammar)
        turns = [Turn(turn.role, self._spread(turn.content), turn.passed) for turn in request.turns]
        keys = [_image_key(part) for turn in turns for part in turn.content if isinstance(part, EncodedImage)]
        known = [self.features.get(key) for key in keys]
        inputs = self.outline.inputs.build(list(self._turns(turns, iter(known))), request.passed)
        answer.prompt_tokens, answer.image_tiles = len(inputs.input_ids), inputs.image_tiles
        answer.spell = self.grammars.spell
        answer.detokenizer = Detokenizer(self.outline.tokenizer, request.sampling.stop)
        limit = allowed(answer.prompt_tokens, request, self.context_length)
        arrays = [*inputs.tiles, *inputs.extra.values()]
        memory, places = _placed(arrays)
        images = list[ImageSource]()
        for key, kept, tiles in zip(keys, known, inputs.tiles_per_image, strict=True):
            region = None if kept or not inputs.tiles else next(places)
            if region is not None:
                kept = self.features.reserve(key, tiles)  # noqa: PLW2901
            if kept is not None:
                answer.kept.append(kept)
            images.append(ImageSource(key, region, kept.pages if kept else ()))
        message = Add(
            number=answer.number,
            prompt=np.array(inputs.input_ids, np.int32),
            sampling=request.sampling,
            limit=limit,
            images=tuple(images),
            extra=dict(zip(inputs.extra, places, strict=True)),
            positions=self.hooks.positions(inputs.input_ids, inputs.extra) if self.hooks else None,
            sight=self.hooks.sight(inputs.input_ids, inputs.extra) if self.hooks else None,
        )
        return message, memory

    def _check_tokens(self, request: Request) -> None:
        """Raise RequestError for a bias of a token that the model does not have."""
        if not request.sampling.logit_bias:
            return
        highest = max(token for token, _ in request.sampling.logit_bias)
        size = self.outline.vocabulary_size
        if highest >= size:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"logit_bias has token {highest}; the model's last token is {size - 1}",
                field="logit_bias",
            )

    def _spread(self, content: tuple[Content, ...]) -> tuple[Content, ...]:
        """The content with a video as the texts and images that the model was trained on."""
        if not any(isinstance(part, EncodedVideo) for part in content):
            return content
        if self.outline.inputs.tiling is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "request has a video, but this model takes images only; send its frames as images",
                field="image",
            )
        parts = list[Content]()
        for part in content:
            parts += frames_of(part) if isinstance(part, EncodedVideo) else (part,)
        return tuple(parts)

    def _turns(self, turns: list[Turn], known: Iterator[KeptFeatures | None]) -> Iterator[DecodedTurn]:
        for turn in turns:
            content = (
                self._picture(part, next(known)) if isinstance(part, EncodedImage) else str(part)
                for part in turn.content
            )
            yield DecodedTurn(turn.role, tuple(content), turn.passed)

    def _picture(self, image: EncodedImage, known: KeptFeatures | None) -> Picture:
        tiling = self.outline.inputs.tiling
        if known is not None:
            return KnownImage(len(known.pages))
        if tiling is not None:
            return self.decoder.cut(image.data, tiling.spec.at_most(image.max_tiles))
        return self.decoder.decode(image.data)


def _placed(arrays: list[np.ndarray]) -> tuple[SharedMemory | None, Iterator[Region | np.ndarray]]:
    """Where arrays travel: themselves, if they are small, or regions of the memory."""
    if sum(array.nbytes for array in arrays) <= INLINE_BYTES:
        return None, iter(arrays)
    memory, regions = SharedMemory.of(arrays)
    return memory, iter(regions)


def allowed(prompt: int, request: Request, longest: int) -> int:
    """The tokens that an answer may have after `prompt` tokens.

    Raises RequestError with `context_length_exceeded` and the numbers if the request cannot fit.
    """
    wanted, left = request.sampling.max_tokens, longest - prompt
    if left < 1:
        raise RequestError(
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            f"prompt is {prompt} tokens, images included; the limit is {longest - 1}; "
            "shorten the prompt or send fewer or smaller images",
            field="prompt",
        )
    if wanted > left and not request.shorten:
        raise RequestError(
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            f"prompt ({prompt} tokens, images included) and max_tokens ({wanted}) are {prompt + wanted} "
            f"tokens; the limit is {longest}; lower max_tokens to {left} or less",
            field="max_tokens",
        )
    return min(wanted, left)
