"""From logits to tokens: greedy rows together, sampled rows one by one with a generator each."""

import torch

from service.engine.request import Sampling
from service.engine.run import Run


def sample(logits: torch.Tensor, runs: list[Run]) -> list[int]:
    """The next token of each run. `logits` is [B, V]; a row depends on its own run alone."""
    tokens: list[int] = logits.argmax(-1).tolist()  # [B]
    for row, run in enumerate(runs):
        sampling = run.request.sampling
        if sampling.temperature > 0 or sampling.repetition_penalty != 1.0:
            tokens[row] = _sample_row(logits[row].float(), run)
    return tokens


def generator_of(sampling: Sampling) -> torch.Generator | None:
    """A source of chance for one request: the same for the same seed, whatever else is in the batch."""
    if sampling.temperature <= 0:
        return None
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def _sample_row(logits: torch.Tensor, run: Run) -> int:
    sampling = run.request.sampling
    logits = logits.cpu()  # [V]
    if sampling.repetition_penalty != 1.0:
        logits = penalise(logits, run.prompt + run.answer, sampling.repetition_penalty)
    if sampling.temperature <= 0:
        return int(logits.argmax())
    weights = torch.softmax(restrict(logits / sampling.temperature, sampling), -1)  # [V]
    return int(torch.multinomial(weights, 1, generator=run.generator))


def penalise(logits: torch.Tensor, history: list[int], penalty: float) -> torch.Tensor:
    """Make tokens of `history` less likely: divide what is positive, multiply the rest.

    Source: CTRL (Keskar et al., 2019), section 4.1, as transformers does it.
    """
    seen = torch.tensor(sorted(set(history)))
    chosen = logits[seen]
    logits = logits.clone()
    logits[seen] = torch.where(chosen > 0, chosen / penalty, chosen * penalty)
    return logits


def restrict(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Leave the `top_k` likeliest tokens, then the fewest of them whose probabilities reach `top_p`."""
    if 0 < sampling.top_k < len(logits):
        least = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # [V], what likelier tokens reach
        logits = logits.scatter(0, order[before >= sampling.top_p], float("-inf"))
    return logits
