"""From logits to tokens for all rows of a batch together; a row depends on its own sequence alone.

Nothing here sorts the vocabulary, or reads what a GPU has computed, but for the rare nucleus of more than
CANDIDATES.

Letters: B rows, R rows that are drawn at random, V vocabulary, C candidates.
"""

from collections import abc
from dataclasses import dataclass
from math import log
from random import Random

import torch
from torch.nn.functional import pad

from service.engine.sampling.adjustments import adjust
from service.engine.sequence import Sequence
from service.protocol.request import Sampling

NOT_A_TOKEN = -1

# The likeliest tokens, among which top_k and top_p are applied. Few nuclei have more.
CANDIDATES = 1024

# A token is drawn in two steps, first its block and then the token: float64 sums of the vocabulary are slow.
BLOCK = 256

# A number below one; in float64 so is its product with this and any total.
BELOW_ONE = 1 - 2**-40


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities [R, C] of tokens [R, C] in ascending order, or of the whole vocabulary (None).

    `cut` [R] says in which rows top_p asks for more than these; None where none can.
    """

    weights: torch.Tensor
    tokens: torch.Tensor | None = None
    cut: torch.Tensor | None = None


def sample(
    logits: torch.Tensor, sequences: abc.Sequence[Sequence], stop_ids: frozenset[int] = frozenset()
) -> torch.Tensor:
    """The next token of each sequence [B] on the device of its `logits` [B, V].

    `stop_ids` end an answer. NOT_A_TOKEN where the logits are not numbers.
    """
    sampling = [sequence.sampling for sequence in sequences]
    logits = adjust(logits, sequences, stop_ids)
    highest, tokens = logits.max(-1)  # each [B]; a NaN counts as the highest
    by_width: dict[int, list[int]] = {}
    for row, one in enumerate(sampling):
        if one.temperature > 0:
            by_width.setdefault(_width(one, logits.shape[-1]), []).append(row)
    for width, rows in by_width.items():
        index = torch.tensor(rows).to(logits.device)  # [R]
        drawn = _draw(logits[index], [sequences[row] for row in rows], width)  # [R]
        tokens = tokens.index_copy(0, index, drawn)
    return tokens.masked_fill(highest.isnan(), NOT_A_TOKEN)


def _width(sampling: Sampling, vocabulary: int) -> int:
    """The candidates to begin with; 0 where every token is one."""
    if sampling.top_k == 0 and sampling.top_p >= 1.0:
        return 0
    # By powers of two, so that rows share a call and yet none depends on what others ask for.
    width = 2 ** (sampling.top_k - 1).bit_length() if sampling.top_k else CANDIDATES
    return vocabulary if width > CANDIDATES else min(width, vocabulary)


def _draw(logits: torch.Tensor, sequences: abc.Sequence[Sequence], width: int) -> torch.Tensor:
    sampling = [sequence.sampling for sequence in sequences]
    chances = [sequence.generator.random() if sequence.generator else 0.0 for sequence in sequences]
    found = distribution(logits, sampling, width)
    drawn = draw(found, chances)  # [R]
    rows: list[int] = [] if found.cut is None else found.cut.nonzero()[:, 0].tolist()
    if rows:
        exact = distribution(logits[rows], [sampling[row] for row in rows], logits.shape[-1])
        drawn[rows] = draw(exact, [chances[row] for row in rows])
    return drawn


def generator_of(sampling: Sampling) -> Random | None:
    """A random generator for one request: the same for the same seed, whatever else is in the batch."""
    return Random(sampling.seed) if sampling.temperature > 0 else None  # noqa: S311 - no secret


def distribution(logits: torch.Tensor, sampling: abc.Sequence[Sampling], width: int) -> Distribution:
    """Probabilities of the next token for logits [R, V].

    By temperature; then of the `top_k` likeliest tokens; then of the fewest of those that reach `top_p`;
    then of those that are at least `min_p` times as likely as the likeliest.
    `width` is how many of the likeliest are looked at: at least each top_k; 0 where neither bound is set.
    Source of the second bound: Holtzman et al., 2020, section 3.1; of the third: Nguyen et al., 2025.
    """
    vocabulary, device = logits.shape[-1], logits.device
    temperature = torch.tensor([one.temperature for one in sampling], device=device)[:, None]  # [R, 1]
    logits = logits.float() / temperature
    least = [log(one.min_p) if one.min_p > 0 else float("-inf") for one in sampling]
    bounded = any(one.min_p > 0 for one in sampling)
    floor = torch.tensor(least, device=device)[:, None]  # [R, 1]
    if not width:
        if bounded:
            logits = logits.masked_fill(logits < logits.amax(-1, True) + floor, float("-inf"))
        return Distribution(logits.softmax(-1))
    rank = torch.tensor([one.top_k or vocabulary for one in sampling], device=device)[:, None]  # [R, 1]
    share = torch.tensor([one.top_p for one in sampling], device=device)[:, None]  # [R, 1]
    ordered, order = logits.topk(width)  # each [R, C]
    ordered = ordered.masked_fill(torch.arange(width, device=device) >= rank, float("-inf"))
    # Where top_k is not set, the share is of all tokens, not of the candidates.
    total = torch.where(rank < vocabulary, ordered.logsumexp(-1, True), logits.logsumexp(-1, True))
    likely = (ordered - total).exp()
    reached = likely.cumsum(-1)
    beyond = (reached - likely >= share) & (share < 1.0)  # likelier tokens reach the share
    if bounded:
        beyond |= ordered < ordered[:, :1] + floor
    beyond[:, 0] = False
    weights = ordered.masked_fill(beyond, float("-inf")).softmax(-1)
    # In the order of the vocabulary, since that of equally likely tokens may differ from batch to batch.
    tokens, places = order.sort(-1)
    open_ended = width < vocabulary and any(one.top_k == 0 for one in sampling)
    cut = (reached[:, -1] < share[:, 0]) & (rank[:, 0] >= vocabulary) if open_ended else None
    return Distribution(weights.gather(-1, places), tokens, cut)


def draw(found: Distribution, chances: abc.Sequence[float]) -> torch.Tensor:
    """A token of each row by its chance, a number from 0 to 1: [R]."""
    weights = found.weights
    blocks = pad(weights, (0, -weights.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))  # [R, C / BLOCK, BLOCK]
    totals = blocks.sum(-1, dtype=torch.float64)  # [R, C / BLOCK]
    reached = totals.cumsum(-1)
    chance = torch.tensor(chances, dtype=torch.float64)[:, None].to(weights.device)  # [R, 1]
    point = chance * reached[:, -1:] * BELOW_ONE  # [R, 1]
    # The first one whose sum exceeds the point: one without weight exceeds what the one before it does.
    block = torch.searchsorted(reached, point, right=True).clamp_(max=reached.shape[-1] - 1)  # [R, 1]
    inside = blocks.take_along_dim(block[..., None], 1)[:, 0].double().cumsum(-1)  # [R, BLOCK]
    point = (point - reached.gather(-1, block) + totals.gather(-1, block)).clamp_(min=0.0)
    point = torch.minimum(point, inside[:, -1:] * BELOW_ONE)
    place = block * BLOCK + torch.searchsorted(inside, point, right=True)  # [R, 1]
    place = place.clamp_(max=weights.shape[-1] - 1)
    return (place if found.tokens is None else found.tokens.gather(-1, place))[:, 0]
