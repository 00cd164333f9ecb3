"""From tokens to text while the tokens still come: whole characters only, and nothing past a stop string."""

from typing import Any

# What a tokenizer makes of bytes that are no character yet.
INCOMPLETE = "\ufffd"


class Detokenizer:
    """The text of one answer.

    A character may span tokens, so text is given out once it can no longer change; the end of the text that
    could be the beginning of a stop string is held back. The pieces together are the text.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:  # noqa: ANN401 - transformers' have no common type
        self._tokenizer = _quickest(tokenizer)
        self._stop = stop
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

    def add(self, ids: list[int]) -> None:
        """Take in new tokens. A stop string sets `stopped`, and the text ends before it."""
        if self.stopped or not ids:
            return
        self._ids += ids
        before = self._decode(self._ids[self._context : self._settled])
        now = self._decode(self._ids[self._context :])
        if now.endswith(INCOMPLETE) or len(now) < len(before):
            return
        self._extend(now[len(before) :])
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
        return len(self._text) - (0 if self.stopped else self._held())

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _extend(self, text: str) -> None:
        longest = max(map(len, self._stop), default=0)
        searched = max(0, len(self._text) - longest + 1)
        self._text += text
        found = [at for stop in self._stop if (at := self._text.find(stop, searched)) >= 0]
        if found:
            self._text = self._text[: min(found)]
            self.stopped = True

    def _held(self) -> int:
        """Characters at the end that a stop string begins with."""
        return max(
            (
                length
                for stop in self._stop
                for length in range(1, len(stop))
                if self._text.endswith(stop[:length])
            ),
            default=0,
        )


def _quickest(tokenizer: Any) -> Any:  # noqa: ANN401 - as above
    """What decodes to the same text in the least time.

    The layer that transformers puts around a fast tokenizer's own `decode` takes four times as long as that
    does, and changes nothing where it is told not to clean up.
    """
    if getattr(tokenizer, "clean_up_tokenization_spaces", None) is False:
        return getattr(tokenizer, "backend_tokenizer", tokenizer)
    return tokenizer
