"""How a prompt is read: where its tokens stand, and which of them see later ones.

Letters: S tokens of the prompt, P position axes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Positions:
    """Position ids of the prompt, [S] or [P, S]; `shift` and its index make those of a later token."""

    prompt: np.ndarray
    shift: np.ndarray

    def between(self, start: int, end: int) -> np.ndarray:
        """Position ids [end - start] or [P, end - start] of tokens of the prompt or the answer."""
        length = self.prompt.shape[-1]
        read = self.prompt[..., start : min(end, length)]
        if end <= length:
            return read
        later = np.arange(max(start, length), end) + self.shift[..., None]
        return np.concatenate((read, later), -1) if start < length else later


@dataclass(frozen=True, slots=True)
class Visible:
    """For each token of a prompt the first token that it sees and the one after the last, each [S]."""

    first: np.ndarray
    end: np.ndarray


@dataclass(frozen=True, slots=True)
class Sight:
    """What the tokens of a prompt see where images or prefixes are read in both directions."""

    full: Visible
    sliding: Visible

    def chunk_end(self, start: int, end: int) -> int:
        """The last place up to `end` where a chunk from `start` may end, else the first one after it."""
        if end >= len(self.full.end):
            return end
        reached = np.maximum.accumulate(np.maximum(self.full.end, self.sliding.end))  # [S]
        ends = np.flatnonzero(reached == np.arange(1, len(reached) + 1)) + 1
        before = ends[(ends > start) & (ends <= end)]
        return int(before[-1]) if len(before) else int(ends[ends > start][0])

    def between(self, window: int | None, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """What tokens of prompt or answer see in a layer of such a window: each [end - start]."""
        visible, read = self.full if window is None else self.sliding, len(self.full.end)
        first, after = causal(window, start, end)
        known = max(0, min(end, read) - start)
        first[:known], after[:known] = visible.first[start:read][:known], visible.end[start:read][:known]
        return first, after


def causal(window: int | None, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """What tokens see that see those before them alone: the first and the one after the last."""
    after = np.arange(start + 1, end + 1)
    return np.maximum(0, after - (window or end)), after
