"""The shape of a conversation: who speaks, and where texts and images stand, without what they say.

A template turns a shape into its own markup, with slots for texts and images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from service.prompt.inputs import DecodedTurn, Picture
from service.protocol.request import Role

Kind = Literal["text", "image"]
Shape = tuple[tuple[Role, tuple[Kind, ...]], ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, taken apart: its shape, its texts and its images, each in reading order."""

    shape: Shape
    texts: tuple[str, ...]
    images: tuple[Picture, ...]


def take_apart(turns: Sequence[DecodedTurn]) -> Conversation:
    """Part shape and content.

    Neighboring texts become one, so that two harmless halves cannot meet in the prompt as a special token.
    """
    shape: list[tuple[Role, tuple[Kind, ...]]] = []
    texts: list[str] = []
    images: list[Picture] = []
    for turn in turns:
        kinds: list[Kind] = []
        for piece in turn.content:
            if not isinstance(piece, str):
                images.append(piece)
                kinds.append("image")
            elif kinds and kinds[-1] == "text":
                texts[-1] += piece
            else:
                texts.append(piece)
                kinds.append("text")
        shape.append((turn.role, tuple(kinds)))
    return Conversation(tuple(shape), tuple(texts), tuple(images))


@dataclass(frozen=True, slots=True)
class TextSlot:
    """Where the user's text number `index` goes; the template may ask to strip blanks at its ends."""

    index: int
    strip_left: bool = False
    strip_right: bool = False

    def fill(self, texts: tuple[str, ...]) -> str:
        """The text that stands here."""
        text = texts[self.index]
        if self.strip_left:
            text = text.lstrip()
        return text.rstrip() if self.strip_right else text


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """Where the next image goes."""


Part = str | TextSlot | ImageSlot


class PromptTemplate(Protocol):
    """Renders shapes. A `str` among the parts is the template's markup, in which special tokens count."""

    def render(self, shape: Shape) -> list[Part]:
        """The prompt up to the model's answer. Raises RequestError for a shape it cannot take."""
        ...
