"""From tokens to text while the tokens still come: whole characters only, and nothing past a stop string."""

from typing import Any

# What a tokenizer makes of bytes that are no character yet.
INCOMPLETE = "\ufffd"


class Detokenizer:
    """The text of one answer.

    A character may span tokens, so text is given out once it can no longer change; the end of the text that
    could be the beginning of a stop string is held back. The pieces together are the text. The time for a
    token depends neither on the length of the text nor on that of stop strings.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:  # noqa: ANN401 - transformers' have no common type
        self._tokenizer = quickest(tokenizer)
        self._stops = [_Stop(one) for one in stop if one]
        self._ids: list[int] = []
        self._settled = 0  # tokens whose text is in `_text`
        self._context = 0  # where decoding begins, so that the first new token is seen after another one
        self._text = ""
        self.stopped = False

    @property
    def text(self) -> str:
        """The whole text so far, without what is not a character yet."""
        return self._text

    @property
    def taken(self) -> int:
        """Tokens taken in so far."""
        return len(self._ids)

    def add(self, ids: list[int], *, may_stop: bool = True) -> None:
        """Take in new tokens. A stop string sets `stopped` if it may, and the text ends before it."""
        if self.stopped or not ids:
            return
        self._ids += ids
        before = self._decode(self._ids[self._context : self._settled])
        now = self._decode(self._ids[self._context :])
        if now.endswith(INCOMPLETE) or len(now) < len(before):
            return
        self._extend(now[len(before) :], may_stop=may_stop)
        self._context, self._settled = self._settled, len(self._ids)

    def finish(self) -> None:
        """Take in what is left after the last token, incomplete characters and all."""
        if not self.stopped and self._settled < len(self._ids):
            before = self._decode(self._ids[self._context : self._settled])
            self._extend(self._decode(self._ids[self._context :])[len(before) :])
            self._settled = self._context = len(self._ids)

    @property
    def available(self) -> int:
        """Characters that can be given out now."""
        held = 0 if self.stopped else max((one.matched for one in self._stops), default=0)
        return len(self._text) - held

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _extend(self, text: str, *, may_stop: bool = True) -> None:
        for index, character in enumerate(text):
            found = [len(one.text) for one in self._stops if one.advance(character)]
            if found and may_stop:
                self._text = (self._text + text[: index + 1])[: -max(found)]
                self.stopped = True
                return
        self._text += text


class _Stop:
    """Finds a stop string in characters that come one by one, in constant time for each.

    Source: Knuth, Morris, Pratt, 1977, "Fast pattern matching in strings".
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0  # characters of it that the text so far ends with
        self._shorter = [0] * len(text)  # the longest beginning that each beginning ends with
        for end in range(1, len(text)):
            self._shorter[end] = self._extended(self._shorter[end - 1], text[end])

    def advance(self, character: str) -> bool:
        """Take in the next character; whether the stop string ends with it."""
        self.matched = self._extended(self.matched, character)
        return self.matched == len(self.text)

    def _extended(self, matched: int, character: str) -> int:
        if matched == len(self.text):  # found, but too early to count
            matched = self._shorter[-1]
        while matched and self.text[matched] != character:
            matched = self._shorter[matched - 1]
        return matched + (self.text[matched] == character)


def quickest(tokenizer: Any) -> Any:  # noqa: ANN401 - as above
    """What decodes to the same text in the least time.

    The layer that transformers puts around a fast tokenizer's own `decode` takes four times as long as that
    does, and changes nothing unless it is set to clean up.
    """
    if getattr(tokenizer, "clean_up_tokenization_spaces", None) is False:
        return getattr(tokenizer, "backend_tokenizer", tokenizer)
    return tokenizer
