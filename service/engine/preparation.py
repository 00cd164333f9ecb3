"""What a request needs before the model sees it: images decoded and cut, the prompt tokenised.

Runs in worker threads, so that the step neither waits for it nor for the event loop.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock

import numpy as np
from PIL import Image

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.features import FeatureCache
from service.engine.inputs import DecodedTurn
from service.engine.request import EncodedImage, Request
from service.engine.run import Run
from service.errors import ErrorCode, RequestError

Decode = Callable[[bytes], Image.Image]

# Token ids of prompts that are remembered; a hit needs the features too, so more would rarely be of use.
REMEMBERED_TOKENS = 2**16


def share_key(request: Request) -> Hashable | None:
    """What two requests have in common whose answers must be equal; None where chance decides."""
    if request.sampling.temperature > 0 and request.sampling.seed is None:
        return None
    return (prompt_key(request), request.sampling, request.shorten)


def prompt_key(request: Request) -> Hashable:
    """What decides the prompt of a request."""
    turns = tuple((turn.role, tuple(map(_content_key, turn.content))) for turn in request.turns)
    return (turns, request.max_tiles)


def _content_key(part: str | EncodedImage) -> Hashable:
    return part if isinstance(part, str) else part.digest


def images_of(request: Request) -> list[EncodedImage]:
    """The images of a request in reading order."""
    return [part for turn in request.turns for part in turn.content if isinstance(part, EncodedImage)]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised prompt, where image features go in it, and how many tiles its images have."""

    ids: list[int]
    image_positions: np.ndarray
    image_tiles: int


class Preparation:
    """Builds the inputs of runs for one model. Safe to call from several threads."""

    def __init__(self, loaded: LoadedModel, decode: Decode, features: FeatureCache) -> None:
        self.loaded = loaded
        self.decode = decode
        self.features = features
        self.image_token = getattr(loaded.model.config, "image_token_id", None)
        self._remembered: OrderedDict[Hashable, Prompt] = OrderedDict()
        self._tokens = 0
        self._lock = Lock()

    def prepare(self, run: Run, *, longest: int) -> None:
        """Fill in the run's prompt and limits; `longest` bounds prompt and answer together, in tokens.

        An image whose features are known is not even decoded where its prompt is known too.
        Raises RequestError for an image or a prompt that cannot be taken.
        """
        request = run.request
        run.image_keys = tuple((image.digest, request.max_tiles) for image in images_of(request))
        run.image_features = [self.features.get(key) for key in run.image_keys]
        known = all(features is not None for features in run.image_features)
        prompt = self._recall(prompt_key(request)) if known and run.image_keys else None
        if prompt is None:
            prompt = self._build(run)
        run.prompt, run.image_positions = prompt.ids, prompt.image_positions
        run.image_tiles = prompt.image_tiles
        run.limit = allowed(len(run.prompt), request, longest)

    def _build(self, run: Run) -> Prompt:
        turns = [
            DecodedTurn(
                turn.role,
                tuple(part if isinstance(part, str) else self.decode(part.data) for part in turn.content),
            )
            for turn in run.request.turns
        ]
        run.inputs = self.loaded.inputs.build(turns, max_tiles=run.request.max_tiles)
        ids = list(run.inputs.input_ids)
        positions = np.flatnonzero(np.asarray(ids) == self.image_token)
        prompt = Prompt(ids, positions, run.inputs.image_tiles)
        if run.inputs.pixels is not None:
            self._remember(prompt_key(run.request), prompt)
        return prompt

    def _recall(self, key: Hashable) -> Prompt | None:
        with self._lock:
            found = self._remembered.get(key)
            if found is not None:
                self._remembered.move_to_end(key)
            return found

    def _remember(self, key: Hashable, prompt: Prompt) -> None:
        with self._lock:
            if key in self._remembered:
                return
            self._remembered[key] = prompt
            self._tokens += len(prompt.ids)
            while self._tokens > REMEMBERED_TOKENS:
                _, oldest = self._remembered.popitem(last=False)
                self._tokens -= len(oldest.ids)


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
