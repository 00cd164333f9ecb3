"""A rendered template, tokenized as far as it can be before texts and images are known."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.prompt.shape import ImageSlot, Part, TextSlot
from service.prompt.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Text between two special tokens, which is encoded as a whole since tokens span its parts."""

    parts: tuple[str | TextSlot, ...]
    at_start: bool
    strip_left: bool
    strip_right: bool

    def encode(self, vocabulary: Vocabulary, texts: tuple[str, ...]) -> list[int]:
        """The run's token ids once its slots are filled."""
        text = "".join(part if isinstance(part, str) else part.fill(texts) for part in self.parts)
        if self.strip_left:
            text = text.lstrip()
        if self.strip_right:
            text = text.rstrip()
        return vocabulary.encode(text, at_start=self.at_start)

    @property
    def constant(self) -> bool:
        """Whether the run holds no slot."""
        return all(isinstance(part, str) for part in self.parts)


Item = list[int] | TextSpan | ImageSlot


class Skeleton:
    """The token ids of one shape of conversation, with gaps for what users say and show."""

    def __init__(self, parts: Sequence[Part], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        pieces = _pieces(parts, vocabulary)
        # A template that writes the begin token itself gets no second one.
        bos = [] if pieces and pieces[0] in vocabulary.bos_ids else vocabulary.bos_ids
        self._items: list[Item] = [list(bos)]
        run: list[str | TextSlot] = []
        at_start, eaten = True, False
        for piece in pieces:
            if isinstance(piece, str | TextSlot):
                run.append(piece)
                continue
            before, after = vocabulary.eats_blanks(piece) if isinstance(piece, int) else (False, False)
            self._close(TextSpan(tuple(run), at_start, strip_left=eaten, strip_right=before))
            run, at_start, eaten = [], False, after
            self._append([piece] if isinstance(piece, int) else piece)
        self._close(TextSpan(tuple(run), at_start, strip_left=eaten, strip_right=False))

    def _close(self, run: TextSpan) -> None:
        if run.parts:
            self._append(run.encode(self._vocabulary, ()) if run.constant else run)

    def _append(self, item: Item) -> None:
        last = self._items[-1]
        if isinstance(item, list) and isinstance(last, list):
            last += item
        else:
            self._items.append(item)

    def fill(self, texts: tuple[str, ...], images: Sequence[list[int]]) -> list[int]:
        """Token ids of the whole prompt; `images` holds the ids that stand for each image, in order."""
        ids: list[int] = []
        shown = iter(images)
        for item in self._items:
            if isinstance(item, list):
                ids += item
            elif isinstance(item, TextSpan):
                ids += item.encode(self._vocabulary, texts)
            else:
                ids += next(shown)
        return ids


def _pieces(parts: Sequence[Part], vocabulary: Vocabulary) -> list[str | int | TextSlot | ImageSlot]:
    """The parts with their markup split at special tokens."""
    pieces: list[str | int | TextSlot | ImageSlot] = []
    for part in parts:
        if isinstance(part, str):
            pieces += vocabulary.split_markup(part)
        else:
            pieces.append(part)
    return pieces
