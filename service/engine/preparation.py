"""What a request needs before the model sees it: images decoded and cut, the prompt tokenised.

Runs in worker threads, so that the step neither waits for it nor for the event loop.
"""

from collections.abc import Hashable, Iterator

import numpy as np

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.features import FeatureCache
from service.engine.inputs import DecodedTurn, KnownImage, Picture
from service.engine.request import EncodedImage, Request
from service.engine.sequence import Sequence
from service.errors import ErrorCode, RequestError
from service.media.decode import ImageDecoder


def share_key(request: Request) -> Hashable | None:
    """What two requests have in common whose answers must be equal; None where chance decides."""
    if request.sampling.temperature > 0 and request.sampling.seed is None:
        return None
    turns = tuple((turn.role, tuple(map(_content_key, turn.content))) for turn in request.turns)
    return (turns, request.max_tiles, request.sampling, request.shorten)


def _content_key(part: str | EncodedImage) -> Hashable:
    return part if isinstance(part, str) else part.digest


def images_of(request: Request) -> list[EncodedImage]:
    """The images of a request in reading order."""
    return [part for turn in request.turns for part in turn.content if isinstance(part, EncodedImage)]


class Preparation:
    """Builds the inputs of runs for one model. Safe to call from several threads."""

    def __init__(self, loaded: LoadedModel, decoder: ImageDecoder, features: FeatureCache) -> None:
        self.loaded = loaded
        self.decoder = decoder
        self.features = features
        self.image_token = getattr(loaded.model.config, "image_token_id", None)

    def prepare(self, run: Sequence, *, longest: int) -> None:
        """Fill in the run's prompt and limits; `longest` bounds prompt and answer together, in tokens.

        An image whose features are known is not even decoded.
        Raises RequestError for an image or a prompt that cannot be taken.
        """
        request = run.request
        run.image_keys = tuple((image.digest, request.max_tiles) for image in images_of(request))
        run.known = [self.features.get(key) for key in run.image_keys]
        pictures = self._pictures(run)
        turns = [
            DecodedTurn(
                turn.role,
                tuple(part if isinstance(part, str) else next(pictures) for part in turn.content),
            )
            for turn in request.turns
        ]
        run.inputs = self.loaded.inputs.build(turns, max_tiles=request.max_tiles)
        run.prompt, run.image_tiles = list(run.inputs.input_ids), run.inputs.image_tiles
        run.image_positions = np.flatnonzero(np.asarray(run.prompt) == self.image_token)
        run.limit = allowed(len(run.prompt), request, longest)

    def _pictures(self, run: Sequence) -> Iterator[Picture]:
        tiling = self.loaded.inputs.tiling
        for image, known in zip(images_of(run.request), run.known, strict=True):
            if known is not None:
                yield KnownImage(known.tiles)
            elif tiling is not None:
                yield self.decoder.cut(image.data, tiling.spec.at_most(run.request.max_tiles))
            else:
                yield self.decoder.decode(image.data)


def allowed(prompt: int, request: Request, longest: int) -> int:
    """The tokens that an answer may have after `prompt` tokens.

    Raises RequestError with `context_length_exceeded` and the numbers where the request cannot fit.
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
