"""How likely the model found a token, and which others it found likely.

The probabilities are the model's own, before temperature, penalties and grammars, as vLLM's are.

Letters: B rows, R rows that ask for logprobs, V vocabulary, K most of the others.
"""

from collections import abc

import torch

from service.engine.sequence import Sequence
from service.protocol.request import TokenLogprobs

# OpenAI's number for a probability of almost zero; JSON has no infinity.
LEAST = -9999.0


def logprobs(
    logits: torch.Tensor, sequences: abc.Sequence[Sequence], tokens: abc.Sequence[int]
) -> dict[int, TokenLogprobs]:
    """By row of the logits [B, V], for the sequences that ask for them; `tokens` are the chosen ones."""
    wanted = [(row, one.sampling.top_logprobs) for row, one in enumerate(sequences)]
    asked = [(row, count) for row, count in wanted if count is not None]
    if not asked:
        return {}
    rows = torch.tensor([row for row, _ in asked]).to(logits.device)  # [R]
    chosen = torch.tensor([tokens[row] for row, _ in asked]).to(logits.device)[:, None]  # [R, 1]
    found = logits[rows].float().log_softmax(-1).clamp(min=LEAST)  # [R, V]
    own = found.gather(-1, chosen.clamp(min=0))[:, 0].tolist()  # [R]
    likeliest = found.topk(min(max(count for _, count in asked), found.shape[-1]))  # each [R, K]
    ids, values = likeliest.indices.tolist(), likeliest.values.tolist()
    return {
        row: TokenLogprobs(
            tokens[row], own[place], tuple(zip(ids[place][:count], values[place][:count], strict=True))
        )
        for place, (row, count) in enumerate(asked)
    }
