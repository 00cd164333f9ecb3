"""A tokenizer's vocabulary, split into markup that only templates may write and text that users may."""

import re
import secrets
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

if TYPE_CHECKING:  # the replica process reads prompts of original checkpoints without transformers
    from transformers import TokenizersBackend

# Markup for places in an image, which users are meant to write and which moves no turn and no image.
# Source: the model cards of InternVL2 (grounding) and Qwen-VL.
HARMLESS = frozenset(
    {
        "<ref>",
        "</ref>",
        "<box>",
        "</box>",
        "<quad>",
        "</quad>",
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
        "<|quad_start|>",
        "<|quad_end|>",
    }
)


class Vocabulary:
    """Encodes markup with its special tokens and text without them. Safe to use from several threads.

    It works on a copy of the tokenizer's backend, since transformers sets options on the shared one at each
    call. `control` are tokens to be kept from users in addition to those that the tokenizer calls special.
    """

    def __init__(self, tokenizer: "TokenizersBackend", *, control: Iterable[str] = ()) -> None:
        added = {token.content: (index, token) for index, token in tokenizer.added_tokens_decoder.items()}
        reserved = {text for text, (_, token) in added.items() if token.special} | set(control)
        self.bos_ids = _leading_ids(tokenizer)
        self._markup = {text: added[text] for text in reserved if text in added}
        self._markup_pattern = any_of(self._markup)
        self._split_pattern = any_of(HARMLESS & self._markup.keys())
        forbidden = self._markup.keys() - HARMLESS
        self._forbidden_ids = frozenset(self._markup[text][0] for text in forbidden)
        self._forbidden_pattern = any_of(forbidden)
        self._backend, self._anchor = _plain_copy(tokenizer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._backend.encode_special_tokens = True  # which a pickled backend forgets

    def split_markup(self, text: str) -> list[str | int]:
        """A template's markup as special token ids and the text between them."""
        pieces: list[str | int] = []
        for piece in self._markup_pattern.split(text):
            if piece in self._markup:
                pieces.append(self._markup[piece][0])
            elif piece:
                pieces.append(piece)
        return pieces

    def eats_blanks(self, token_id: int) -> tuple[bool, bool]:
        """Whether a special token swallows the blanks to its left and to its right."""
        token = next(token for index, token in self._markup.values() if index == token_id)
        return bool(token.lstrip), bool(token.rstrip)

    def encode(self, text: str, *, at_start: bool = False) -> list[int]:
        """Token ids of text between two special tokens, none of which is a special token itself.

        Equal to what the tokenizer gives for text that spells no special token. `at_start`: the text begins
        the whole prompt, where some tokenizers put a blank in front.
        """
        if self._split_pattern.search(text) is None:
            return self._encode_piece(text, at_start=at_start)
        ids: list[int] = []
        for piece in self._split_pattern.split(text):
            if piece in HARMLESS:
                ids.append(self._markup[piece][0])
            elif piece:
                ids += self._encode_piece(piece, at_start=at_start and not ids)
        return ids

    def _encode_piece(self, text: str, *, at_start: bool) -> list[int]:
        ids = self._encode_plain(text, at_start=at_start)
        if self._forbidden_ids.isdisjoint(ids):
            return ids
        # The vocabulary itself holds the spelling as one piece: read it in two halves.
        ids = []
        for half in self._halves(text):
            ids += self._encode_plain(half, at_start=at_start and not ids)
        return [index for index in ids if index not in self._forbidden_ids]

    def _halves(self, text: str) -> list[str]:
        cuts = [0, *(match.start() + 1 for match in self._forbidden_pattern.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(cuts) if end > start]

    def _encode_plain(self, text: str, *, at_start: bool) -> list[int]:
        if at_start:
            return self._backend.encode(text, add_special_tokens=False).ids
        # Behind a token, as in the prompt: some tokenizers treat the very first text otherwise.
        return self._backend.encode(self._anchor + text, add_special_tokens=False).ids[1:]


def _plain_copy(tokenizer: "TokenizersBackend") -> tuple[Tokenizer, str]:
    """A backend of our own that reads special tokens as text, and a token in it that no user can guess."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    anchor = f"<{secrets.token_hex(16)}>"
    backend.add_tokens([AddedToken(anchor, normalized=False, special=False)])
    return backend, anchor


def _leading_ids(tokenizer: "TokenizersBackend") -> list[int]:
    """What the tokenizer puts before a prompt: the begin token, or nothing."""
    first = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    return first if first and first[0] == tokenizer.bos_token_id else []


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern of one group that matches the longest of the texts; nothing, where there are none."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if longest_first else "((?!))")
