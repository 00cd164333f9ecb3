"""What a template makes of a conversation's shape: its own markup, with slots for texts and images."""

from dataclasses import dataclass
from typing import Protocol

from service.engine.prompt.shape import Shape


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
