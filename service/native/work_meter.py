"""How much work a replica does and how much waits, in seconds, judged by what its steps have taken.

Pure: no clock, no threads. A second of work is what a replica with full batches computes in a second.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from service.protocol.stats import RankStats, Work

# What was seen so many seconds of computing ago weighs e times less.
MEMORY_SECONDS = 60.0
# Intervals with less computing than this are added to the next: their counters say little.
LEAST_SECONDS = 0.2
# The rate of work is that of this time, the length of an answer that of the requests of a minute.
RATE_SECONDS, ANSWERS_SECONDS = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class TokenCost:
    """Seconds of computing for a token that is read and for one that is written, in full batches."""

    prompt: float
    answer: float

    def seconds(self, prompt_tokens: float, answer_tokens: float) -> float:
        """How long a replica with full batches takes for so many."""
        return prompt_tokens * self.prompt + answer_tokens * self.answer


class StepTimes:
    """Learns what a step takes: a part of its own, a part for each token read, one for each written.

    A least-squares fit of the counters' increases, in which the past fades. The part that every step has is
    divided by the answers that a full batch has, so a replica with little load does not seem slow.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._last = (0, 0, 0, 0.0)
        self._products = np.zeros((3, 3))
        self._targets = np.zeros(3)

    def observe(self, stats: RankStats) -> None:
        """Take in the counters, as often as they are at hand."""
        now = (stats.steps, stats.prefill_tokens, stats.decode_tokens, stats.step_seconds)
        *counts, seconds = (new - old for new, old in zip(now, self._last, strict=True))
        if seconds < LEAST_SECONDS:
            return
        self._last = now
        fading, row = exp(-seconds / MEMORY_SECONDS), np.array(counts) / seconds
        # Divided by the seconds, and weighted by them: long intervals count for more, not by their square.
        self._products = fading * self._products + seconds * np.outer(row, row)
        self._targets = fading * self._targets + seconds * row

    @property
    def cost(self) -> TokenCost | None:
        """The cost of a token; None before anything was computed."""
        if not self._products.any():
            return None
        step, prompt, answer = _non_negative_fit(self._products, self._targets)
        return TokenCost(float(prompt), float(answer + step / self._slots))


def _non_negative_fit(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The least-squares solution of normal equations without negative parts.

    Of the solutions with a part left out, the one that explains most; three parts allow trying them all.
    """
    # Tokens outnumber steps by far, so all are put on one scale.
    scale = np.sqrt(np.maximum(products.diagonal(), 1e-12))
    products, targets = products / np.outer(scale, scale), targets / scale
    best, found = 0.0, np.zeros(3)
    for used in ((0, 1, 2), (1, 2), (0, 1), (0, 2), (1,), (2,), (0,)):
        solution = np.linalg.lstsq(products[np.ix_(used, used)], targets[list(used)], rcond=1e-9)[0]
        explained = float(solution @ targets[list(used)])
        if (solution >= 0).all() and explained > best * (1 + 1e-9):
            best, found = explained, np.zeros(3)
            found[list(used)] = solution
            if len(used) == len(found):  # no solution with a part left out explains more
                break
    parts: np.ndarray = found / scale
    return parts


class WorkMeter:
    """Turns the counters of an engine into work."""

    def __init__(self, slots: int) -> None:
        self._steps = StepTimes(slots)
        self._history: deque[tuple[float, int, int, int]] = deque()

    def observe(self, stats: RankStats, finished: int, queued: Sequence[int], now: float) -> Work | None:
        """Take in the counters at a moment; None as long as nothing was computed.

        `finished` counts the requests that were answered; `queued` has the prompt tokens of each request that
        waits, 0 where they are not known yet.
        """
        self._steps.observe(stats)
        self._history.append((now, stats.prefill_tokens, stats.decode_tokens, finished))
        while now - self._history[1 if len(self._history) > 1 else 0][0] > ANSWERS_SECONDS:
            self._history.popleft()
        cost = self._steps.cost
        if cost is None:
            return None
        prompt, answer = self._means(queued)
        request = cost.seconds(prompt, answer)
        return Work(self._rate(cost, now), len(queued) * request, request)

    def _means(self, queued: Sequence[int]) -> tuple[float, float]:
        """Tokens of a prompt and of an answer."""
        (_, *first), (_, *last) = self._history[0], self._history[-1]
        read, written, finished = (new - old for new, old in zip(last, first, strict=True))
        known = [tokens for tokens in queued if tokens]
        prompt = sum(known) / len(known) if known else read / max(1, finished)
        return prompt, written / max(1, finished)

    def _rate(self, cost: TokenCost, now: float) -> float:
        begin = next(one for one in self._history if now - one[0] <= RATE_SECONDS)
        if begin[0] == now:
            return 0.0
        _, read, written, _ = self._history[-1]
        return min(1.0, cost.seconds(read - begin[1], written - begin[2]) / (now - begin[0]))
