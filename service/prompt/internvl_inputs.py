"""Inputs of InternVL models: every tile of an image stands as a run of image tokens in the prompt.

The library's own processor gives the same, five times slower.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from service.errors import ErrorCode, RequestError
from service.media.tiles import TileSpec, Tiling, cut
from service.prompt.inputs import NO_VARIABLES, DecodedTurn, KnownImage, ModelInputs
from service.prompt.shape import PromptTemplate, Shape, take_apart
from service.prompt.skeleton import Skeleton
from service.prompt.vocabulary import Vocabulary
from service.protocol.chat_format import ChatFormat
from service.protocol.request import EncodedImage, EncodedVideo

SHAPES_KEPT = 256


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """The token ids around and within an image; `per_tile` image tokens stand for a tile."""

    start: int
    context: int
    end: int
    per_tile: int

    def of(self, count: int) -> list[int]:
        """The ids that stand for an image of `count` tiles."""
        return [self.start, *[self.context] * (self.per_tile * count), self.end]


def frames_of(video: EncodedVideo) -> Iterator[str | EncodedImage]:
    """A video as InternVL reads it: its frames in order, each one tile behind its number.

    The line break after each is the template's, as after every image. Source: the model card of InternVL2,
    "Single video single-round conversation", with ``max_num=1``.
    """
    for number, frame in enumerate(video.frames, start=1):
        yield f"Frame{number}: "
        yield EncodedImage(frame.data, max_tiles=1)


class InternVLInputs:
    """Builds inputs for an InternVL model. Safe to call from several threads."""

    def __init__(
        self, template: PromptTemplate, vocabulary: Vocabulary, image: ImageTokens, spec: TileSpec
    ) -> None:
        self.spec = spec
        self.image = image
        self._template = template
        self._vocabulary = vocabulary
        # The shapes of conversations are few; their templates are rendered and tokenized once.
        self._skeleton = lru_cache(maxsize=SHAPES_KEPT)(self._make_skeleton)

    def __reduce__(self) -> tuple[type[Self], tuple[PromptTemplate, Vocabulary, ImageTokens, TileSpec]]:
        return type(self), (self._template, self._vocabulary, self.image, self.spec)

    @property
    def tiling(self) -> Tiling:
        """See `InputBuilder.tiling`."""
        return Tiling(self.spec, self.image.per_tile)

    @property
    def chat_format(self) -> ChatFormat:
        """See `InputBuilder.chat_format`. A template that is rendered by shape alone has nothing more."""
        return ChatFormat()

    def build(
        self, turns: Sequence[DecodedTurn], _variables: Mapping[str, object] = NO_VARIABLES, /
    ) -> ModelInputs:
        """See `InputBuilder.build`. Raises RequestError for turns that the model's template cannot take."""
        conversation = take_apart(turns)
        skeleton = self._skeleton(conversation.shape)
        tiles, counts = list[np.ndarray](), list[int]()
        for image in conversation.images:
            if isinstance(image, KnownImage):
                counts.append(image.tiles)
            else:
                own = image if isinstance(image, np.ndarray) else cut(image, self.spec)  # [T, H, W, 3]
                tiles.append(own)
                counts.append(len(own))
        ids = skeleton.fill(conversation.texts, [self.image.of(count) for count in counts])
        return ModelInputs(
            input_ids=ids,
            tiles=tuple(tiles),
            tiles_per_image=tuple(counts),
        )

    def prepare(self, shape: Shape) -> None:
        """Render a shape ahead of its first request. Raises RequestError where the template refuses it."""
        self._skeleton(shape)

    def _make_skeleton(self, shape: Shape) -> Skeleton:
        if not shape:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "conversation has 0 turns; send at least one message",
                field="messages",
            )
        return Skeleton(self._template.render(shape), self._vocabulary)
