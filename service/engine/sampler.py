"""From logits to tokens, for all rows of a batch together; a row depends on its own run alone.

Letters: B rows, R of them drawn by chance, V vocabulary, N tokens of all penalised rows.
"""

from collections import abc
from math import isnan
from random import Random

import torch

from service.engine.request import Sampling
from service.engine.sequence import Sequence

NOT_A_TOKEN = -1

# Chance is below one; in float64 so is its product with this and any total.
BELOW_ONE = 1 - 2**-40


def sample(logits: torch.Tensor, runs: abc.Sequence[Sequence]) -> list[int]:
    """The next token of each sequence; NOT_A_TOKEN where its logits are not numbers. `logits` is [B, V]."""
    sampling = [run.request.sampling for run in runs]
    penalised = [row for row, one in enumerate(sampling) if one.repetition_penalty != 1.0]
    if penalised:
        logits = penalise(logits, penalised, [runs[row] for row in penalised])
    highest, likeliest = logits.max(-1)  # each [B]; a NaN counts as the highest
    tokens: list[int] = likeliest.tolist()
    broken = [row for row, value in enumerate(highest.tolist()) if isnan(value)]
    drawn = [row for row, one in enumerate(sampling) if one.temperature > 0]
    if drawn:
        chosen = logits[drawn] if len(drawn) < len(runs) else logits  # [R, V]
        weights = distribution(chosen, [sampling[row] for row in drawn])
        for row, token in zip(drawn, draw(weights, [runs[row] for row in drawn]), strict=True):
            tokens[row] = token
    for row in broken:
        tokens[row] = NOT_A_TOKEN
    return tokens


def generator_of(sampling: Sampling) -> Random | None:
    """A source of chance for one request: the same for the same seed, whatever else is in the batch."""
    return Random(sampling.seed) if sampling.temperature > 0 else None  # noqa: S311 - no secret


def penalise(logits: torch.Tensor, rows: abc.Sequence[int], runs: abc.Sequence[Sequence]) -> torch.Tensor:
    """Make tokens that a row's run has seen less likely: divide what is positive, multiply the rest. [B, V].

    Source: CTRL (Keskar et al., 2019), section 4.1, as transformers does it: the prompt counts too.
    """
    seen = [run.seen for run in runs]
    device, counts = logits.device, torch.tensor([len(tokens) for tokens in seen])
    penalties = torch.tensor([run.request.sampling.repetition_penalty for run in runs])
    row = torch.tensor(rows).repeat_interleave(counts).to(device)  # [N]
    column = torch.tensor([token for tokens in seen for token in tokens]).to(device)  # [N]
    penalty = penalties.repeat_interleave(counts).to(device, logits.dtype)  # [N]
    before = logits[row, column]  # [N]
    after = torch.where(before > 0, before / penalty, before * penalty)
    return logits.index_put((row, column), after)


def distribution(logits: torch.Tensor, sampling: abc.Sequence[Sampling]) -> torch.Tensor:
    """Probabilities of the next token [R, V], float64, for logits [R, V].

    By temperature; then of the `top_k` likeliest tokens; then of the fewest of those that reach `top_p`.
    """
    temperature = torch.tensor([one.temperature for one in sampling], device=logits.device)
    logits = logits.float() / temperature[:, None]
    if any(one.top_k for one in sampling):
        logits = _likeliest(logits, [one.top_k for one in sampling])
    if any(one.top_p < 1.0 for one in sampling):
        logits = _nucleus(logits, [one.top_p for one in sampling])
    return logits.double().softmax(-1)


def _likeliest(logits: torch.Tensor, ranks: abc.Sequence[int]) -> torch.Tensor:
    """Leave the likeliest tokens of each row, as many as its rank; all where that is 0."""
    most = min(max(ranks), logits.shape[-1])
    rank = torch.tensor(ranks, device=logits.device)[:, None]  # [R, 1]
    least = logits.topk(most).values.gather(1, rank.clamp(1, most) - 1)  # [R, 1]
    return logits.masked_fill((logits < least) & (rank > 0), float("-inf"))


def _nucleus(logits: torch.Tensor, shares: abc.Sequence[float]) -> torch.Tensor:
    """Leave the fewest tokens of each row whose probabilities reach its share, at least one; all at 1.

    Source: Holtzman et al., 2020, section 3.1.
    """
    share = torch.tensor(shares, device=logits.device)[:, None]  # [R, 1]
    ordered, order = logits.sort(descending=True)  # each [R, V]
    likely = ordered.softmax(-1)
    before = likely.cumsum(-1) - likely  # what likelier tokens reach
    beyond = (before >= share) & (share < 1.0)
    beyond[:, 0] = False
    return logits.masked_fill(torch.empty_like(beyond).scatter_(1, order, beyond), float("-inf"))


def draw(weights: torch.Tensor, runs: abc.Sequence[Sequence]) -> list[int]:
    """A token of each row of `weights` [R, V], by the chance of its run."""
    chances = [run.generator.random() if run.generator is not None else 0.0 for run in runs]
    reached = weights.cumsum(-1)  # [R, V]
    chance = torch.tensor(chances, dtype=torch.float64)[:, None].to(weights.device)  # [R, 1]
    # The first token whose sum exceeds the chance: one of no weight exceeds what the one before it does.
    found = torch.searchsorted(reached, chance * reached[:, -1:] * BELOW_ONE, right=True)  # [R, 1]
    tokens: list[int] = found[:, 0].clamp(max=weights.shape[-1] - 1).tolist()
    return tokens
