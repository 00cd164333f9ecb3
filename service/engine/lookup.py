"""Guesses at the next tokens of a sequence: what followed the same tokens before, in its prompt or answer.

Source: "Prompt Lookup Decoding" (Saxena, 2023), with the latest place instead of the first.
"""

from collections.abc import Sequence

# So many tokens must be the same, the longer first.
LENGTHS = (3, 2)


class PromptLookup:
    """Looks up at most `limit` tokens at a time for one sequence; what it has read is not searched again."""

    def __init__(self, prompt: Sequence[int], limit: int) -> None:
        self.limit = limit
        self._tokens = list(prompt)
        self._prompt = len(prompt)
        self._read = 0
        self._followed: dict[tuple[int, ...], int] = {}  # where the token after these stands

    def draft(self, answer: Sequence[int], most: int) -> tuple[int, ...]:
        """What may follow the answer so far, at most `most` tokens; a repetition goes on repeating."""
        tokens, followed = self._tokens, self._followed
        tokens += answer[len(tokens) - self._prompt :]
        for at in range(self._read, len(tokens)):
            for length in LENGTHS:
                if at >= length:
                    followed[tuple(tokens[at - length : at])] = at
        self._read = len(tokens)
        for length in LENGTHS:
            found = followed.get(tuple(tokens[-length:]))
            if found is not None:
                period = len(tokens) - found
                return tuple(tokens[found + i % period] for i in range(min(most, self.limit)))
        return ()
